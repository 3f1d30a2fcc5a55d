// Files as a bundle: what `scorebox deploy` makes of them. An archive is a ZIP file with its manifest first.

import { Sha256 } from "./sha256.js";

const FORMAT = 1;
/** Bytes of a file that are read at a time. */
const PIECE = 4 * 1024 * 1024;
/** What the fields of a ZIP file can say. */
const MOST = 0xffffffff;

const CRC = new Uint32Array(256).map((_, byte) => {
  for (let bit = 0; bit < 8; bit += 1) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

/** Reads a file piece by piece. */
async function pieces(blob, act) {
  for (let at = 0; at < blob.size; at += PIECE) {
    act(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()), Math.min(blob.size, at + PIECE));
  }
}

/** The bundle of the files that were chosen, and of those of the model directory. */
export async function pack(files, model) {
  const is = (ending) => files.filter((file) => file.name.endsWith(ending));
  const ready = [...is(".wasm"), ...is(".scorebox")];
  if (ready.length > 0 && files.length > 1) throw new Error("Choose one component or bundle, or the files of one script.");
  const models = model.map((file) => [`model/${file.name}`, file]);
  if (is(".scorebox").length === 1) {
    if (models.length > 0) throw new Error("A bundle brings its own model; leave the model’s files out.");
    return files[0];
  }
  if (is(".wasm").length === 1) {
    if (models.length === 0) return files[0];
    return zip([["manifest.json", manifest({ format: FORMAT, kind: "component" })], ["model.wasm", files[0]], ...models]);
  }
  const scripts = is(".py");
  const script = scripts.find((file) => file.name === "score.py") ?? (scripts.length === 1 ? scripts[0] : undefined);
  if (!script) throw new Error(scripts.length ? "There are several scripts; call the one with run() score.py." : "Choose a score.py, a component (.wasm) or a bundle (.scorebox).");
  const about = { format: FORMAT, kind: "python", entry_script: script.name, packages: [] };
  if (models.length > 0) about.model_dir = "/model";
  return zip([["manifest.json", manifest(about)], ...files.map((file) => [`app/${file.name}`, file]), ...models]);
}

const manifest = (value) => new Blob([`${JSON.stringify(value, null, 2)}\n`]);

/** A ZIP file, in which nothing is compressed. */
async function zip(entries) {
  const [parts, directory] = [[], []];
  let offset = 0;
  // The manifest comes first, the others in order of their paths: the same files make the same bundle.
  const [first, ...others] = entries;
  others.sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [path, blob] of [first, ...others]) {
    const name = new TextEncoder().encode(path);
    let crc = MOST;
    await pieces(blob, (bytes) => {
      for (let i = 0; i < bytes.length; i += 1) crc = CRC[(crc ^ bytes[i]) & 0xff] ^ (crc >>> 8);
    });
    if (blob.size >= MOST || offset >= MOST) throw new Error("The files have more than 4 GiB, which no scorer can have.");
    // Version 2.0, names in UTF-8, stored, 1 January 1980.
    const common = [u16(20), u16(0x0800), u16(0), u16(0), u16(0x21), u32(~crc >>> 0), u32(blob.size), u32(blob.size), u16(name.length), u16(0)];
    const head = join([u32(0x04034b50), ...common, name]);
    directory.push(join([u32(0x02014b50), u16(20), ...common, u16(0), u16(0), u16(0), u32(0), u32(offset), name]));
    parts.push(head, blob);
    offset += head.length + blob.size;
  }
  const size = directory.reduce((sum, entry) => sum + entry.length, 0);
  const end = join([u32(0x06054b50), u16(0), u16(0), u16(entries.length), u16(entries.length), u32(size), u32(offset), u16(0)]);
  return new Blob([...parts, ...directory, end]);
}

const u16 = (value) => Uint8Array.of(value, value >>> 8);
const u32 = (value) => Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
const join = (parts) => Uint8Array.from(parts.flatMap((part) => [...part]));

/** SHA-256 of a bundle, in hexadecimal. */
export async function digest(bundle, progress) {
  const sha = new Sha256();
  await pieces(bundle, (bytes, done) => {
    sha.update(bytes);
    progress(done / bundle.size);
  });
  return sha.digest();
}
