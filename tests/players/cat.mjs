// Common Access Tokens by @eyevinn/cat: makes one, and says what is in one. Used by tests/suite/cat.rs.
//   node cat.mjs make        prints a token
//   node cat.mjs read TOKEN  prints its claims as JSON, or fails
import { CAT } from "@eyevinn/cat";

const [what, token] = process.argv.slice(2);
const issuer = "https://issuer.example";
const cat = new CAT({ keys: { cdn: Buffer.alloc(32, 7) }, expectCwtTag: true });

if (what === "make") {
  const claims = {
    iss: issuer,
    aud: "keylet",
    sub: "viewer-1",
    exp: 4000000000,
    catm: ["POST"],
    catu: { path: { "prefix-match": "/vod/movie/" } },
  };
  const options = { type: "mac", alg: "HS256", kid: "cdn", generateCwtId: true };
  console.log(await cat.generateFromJson(claims, options));
} else {
  const url = new URL("https://cdn.example/vod/movie/master.m3u8");
  const read = await cat.validate(token, "mac", { issuer, url });
  if (read.error) {
    throw read.error;
  }
  console.log(JSON.stringify(read.cat.claims));
}
