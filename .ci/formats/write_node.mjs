// Files of the writers of JavaScript.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const require = createRequire(path.join(process.env.FORMATS_MODULES, "package.json"));
const [original, , out] = process.argv.slice(2);
const arrow = require("apache-arrow");
const polars = require("nodejs-polars");
const names = ["claims", "members", "coverages", "providers", "organizations"];
const version = (name) => JSON.parse(fs.readFileSync(path.join(process.env.FORMATS_MODULES, "node_modules", name, "package.json"))).version.replace(/^v/, "");

function read(table) {
  const folder = path.join(original, "line");
  return polars.readParquet(path.join(folder, fs.readdirSync(folder).find((f) => f.startsWith(table) && f.endsWith(".parquet"))));
}

const tables = Object.fromEntries(names.map((name) => {
  const frame = read(name);
  return [name, { frame, columns: frame.columns.map((c) => [c, frame.getColumn(c).toArray()]) }];
}));

async function write(format, writer, packageName, variant, suffix, one) {
  const base = path.join(out, format.toLowerCase().replaceAll(" ", "-"), `${writer}-${version(packageName)}`.replaceAll(/[ /]/g, "-"));
  const folder = path.join(base, variant.replaceAll(/[ /]/g, "-"));
  const result = { format, writer, version: version(packageName), variant, folder };
  fs.mkdirSync(folder, { recursive: true });
  try {
    for (const name of names) await one(tables[name], path.join(folder, name + suffix));
  } catch (e) {
    result.error = String(e).slice(0, 300);
    console.error(e);
  }
  fs.appendFileSync(base + ".jsonl", JSON.stringify(result) + "\n");
}

const texts = ({ columns }) => new arrow.Table(Object.fromEntries(columns.map(([c, values]) => [c, arrow.vectorFromArray(values, new arrow.Utf8())])));
const words = ({ columns }) => arrow.tableFromArrays(Object.fromEntries(columns));
for (const form of ["file", "stream"]) {
  const suffix = form === "file" ? ".arrow" : ".arrows";
  await write("Arrow IPC", "arrow-js", "apache-arrow", `${form}, text`, suffix, (t, p) => fs.writeFileSync(p, arrow.tableToIPC(texts(t), form)));
  await write("Arrow IPC", "arrow-js", "apache-arrow", `${form}, dictionaries`, suffix, (t, p) => fs.writeFileSync(p, arrow.tableToIPC(words(t), form)));
}

const { parquetWriteBuffer } = await import(path.join(process.env.FORMATS_MODULES, "node_modules/hyparquet-writer/src/index.js"));
const hyparquet = (variant, column, options) => write("Parquet", "hyparquet-writer", "hyparquet-writer", variant, ".parquet", ({ columns }, p) =>
  fs.writeFileSync(p, Buffer.from(parquetWriteBuffer({ columnData: columns.map(([name, data]) => ({ name, data, type: "STRING", nullable: true, ...column })), ...options }))));
await hyparquet("snappy", {}, {});
await hyparquet("uncompressed", {}, { codec: "UNCOMPRESSED" });
await hyparquet("row groups of 100 rows", {}, { rowGroupSize: 100 });
await hyparquet("small pages", {}, { pageSize: 64 });
await hyparquet("PLAIN", { encoding: "PLAIN" }, {});
await hyparquet("DELTA_BYTE_ARRAY", { encoding: "DELTA_BYTE_ARRAY" }, {});
await hyparquet("DELTA_LENGTH_BYTE_ARRAY", { encoding: "DELTA_LENGTH_BYTE_ARRAY" }, {});
await hyparquet("page index", { columnIndex: true, offsetIndex: true }, {});

async function byRows(library, { columns }, file, field, options) {
  const fields = Object.fromEntries(columns.map(([c]) => [c, { type: "UTF8", optional: true, ...field }]));
  const writer = await library.ParquetWriter.openFile(new library.ParquetSchema(fields), file, options);
  for (let i = 0; i < columns[0][1].length; i++) {
    await writer.appendRow(Object.fromEntries(columns.filter(([, v]) => v[i] != null).map(([c, v]) => [c, v[i]])));
  }
  await writer.close();
}

for (const [name, codecs] of [["parquetjs", ["GZIP", "SNAPPY"]], ["@dsnp/parquetjs", ["UNCOMPRESSED", "BROTLI"]]]) {
  const library = require(name);
  const make = (variant, field, options = {}) => write("Parquet", name, name, variant, ".parquet", (t, p) => byRows(library, t, p, field, options));
  for (const codec of codecs) await make(codec.toLowerCase(), { compression: codec });
  await make("pages v1", {}, { useDataPageV2: false });
}

for (const compression of ["uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4"]) {
  await write("Parquet", "nodejs-polars", "nodejs-polars", compression, ".parquet", ({ frame }, p) => frame.writeParquet(p, { compression }));
}
for (const compression of ["uncompressed", "lz4", "zstd"]) {
  await write("Arrow IPC", "nodejs-polars", "nodejs-polars", compression, ".arrow", ({ frame }, p) => frame.writeIPC(p, { compression }));
}
await write("CSV", "nodejs-polars", "nodejs-polars", "plain", ".csv", ({ frame }, p) => frame.writeCSV(p));
