# syntax=docker/dockerfile:1

# The command line with the component in it. The version is that of rust-toolchain.toml.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
RUN rustup target add wasm32-wasip2
# Some minutes: it compiles wasmtime, and the component with link-time optimisation.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked && cp target/release/keylet /keylet

# A C library and nothing else: no shell, no package manager.
FROM gcr.io/distroless/cc-debian12
COPY --from=build /keylet /usr/local/bin/keylet
# nobody
USER 65534:65534
# Where `.env` is read from, when one is mounted there.
WORKDIR /
EXPOSE 3000 9100
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/local/bin/keylet", "health", "--timeout", "2s"]
ENTRYPOINT ["/usr/local/bin/keylet"]
CMD ["serve", "--listen", "0.0.0.0:3000", "--metrics", "0.0.0.0:9100", "--in-memory"]
