//! The attribute of the functions in which vectors are worked on.

/// Compiles a function for the vectors of this target.
///
/// In WebAssembly an instruction is inlined only into functions that have its feature. A build
/// needs no flags of its own for that: the features stand on the functions. Elsewhere everything is
/// inlined into [`crate::lanes::Lanes::run`], which may have them.
macro_rules! simd {
    ($function:item) => {
        #[cfg_attr(
            all(target_arch = "wasm32", feature = "relaxed-simd"),
            target_feature(enable = "simd128,relaxed-simd")
        )]
        #[cfg_attr(
            all(target_arch = "wasm32", not(feature = "relaxed-simd")),
            target_feature(enable = "simd128")
        )]
        #[cfg_attr(not(target_arch = "wasm32"), inline(always))]
        $function
    };
}

pub(crate) use simd;
