"""Parquet files of pyarrow, which is also what pandas and many others write with."""
import os

import pyarrow as pa
import pyarrow.parquet as pq

from original import UNUSED, Cases, arguments, in_batches, with_unused

original, out = arguments()
cases = Cases(out, "Parquet", "pyarrow", pa.__version__)
text, usual, nested = original.tables(), original.usual(), original.tables("nested")


def parquet(variant, tables=text, **options):
    cases.each(variant, tables, ".parquet", lambda table, path: pq.write_table(table, path, **options))


def cast(tables, typ):
    return {name: t.cast(pa.schema([(c, typ) for c in t.column_names])) for name, t in tables.items()}


def only_claims(table):
    return {**text, "claims": table}


for codec in ("none", "snappy", "gzip", "brotli", "zstd", "lz4"):
    name = {"lz4": "lz4_raw"}.get(codec, codec)
    for version in ("1.0", "2.0"):
        parquet(f"{name}, pages v{version[0]}", compression=codec, data_page_version=version)
        parquet(f"{name}, pages v{version[0]}, typed, no dictionary", usual, compression=codec, data_page_version=version, use_dictionary=False)
parquet("no dictionary", use_dictionary=False)
parquet("dictionary that overflows", dictionary_pagesize_limit=64, write_batch_size=16)
parquet("row groups of 7 rows", row_group_size=7)
parquet("row groups of 7 rows, typed, pages v2", usual, row_group_size=7, data_page_version="2.0")
parquet("small pages", data_page_size=64, write_batch_size=8)
parquet("small pages v2, typed, no dictionary", usual, data_page_size=64, write_batch_size=8, data_page_version="2.0", use_dictionary=False)
parquet("page index", usual, write_page_index=True, data_page_size=64, write_batch_size=8)
parquet("page checksums", usual, write_page_checksum=True)
parquet("bloom filters", bloom_filter_options={"member_id": True})
parquet("no statistics, no Arrow schema", usual, write_statistics=False, store_schema=False)
for version in ("1.0", "2.4"):
    parquet(f"format version {version}", usual, version=version)
for encoding in ("DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"):
    for version in ("1.0", "2.0"):
        parquet(f"{encoding}, pages v{version[0]}", use_dictionary=False, data_page_version=version,
                column_encoding={c: encoding for t in text.values() for c in t.column_names})
for encoding, types in (("BYTE_STREAM_SPLIT", dict(quantity=pa.float64(), integer=pa.int32())),
                        ("BYTE_STREAM_SPLIT", dict(quantity=pa.float32(), integer=pa.int64(), money=pa.decimal128(12, 2))),
                        ("DELTA_BINARY_PACKED", dict(integer=pa.int32(), date=pa.date32())),
                        ("DELTA_BINARY_PACKED", dict(integer=pa.int64(), instant=pa.timestamp("us"))), ("RLE", dict(flag=pa.bool_()))):
    tables = original.typed(**types)
    parquet(f"{encoding}: {', '.join(str(t).replace(', tz=UTC', '') for t in types.values())}", tables, use_dictionary=False,
            column_encoding={c: encoding for t in tables.values() for c in t.column_names if original.kind(c) in types})
for name, typ in (("large_string", pa.large_string()), ("string_view", pa.string_view()),
                  ("dictionary of int8 to int32", pa.dictionary(pa.int32(), pa.string()))):
    parquet(name, {n: t.cast(pa.schema([(c, typ) for c in t.column_names])) for n, t in text.items()})
parquet("binary instead of string", cast(text, pa.binary()))
parquet("date64", original.typed(date=pa.date64()))
parquet("dates as timestamps", original.typed(date=pa.timestamp("ms")))
for unit in ("s", "ms", "us", "ns"):
    for zone in ("UTC", None):
        parquet(f"timestamp({unit}) {'in UTC' if zone else 'without zone'}", original.typed(instant=pa.timestamp(unit, zone)))
parquet("int96", original.typed(instant=pa.timestamp("us", "UTC")), use_deprecated_int96_timestamps=True)
parquet("int96, no dictionary, pages v2", original.typed(instant=pa.timestamp("us", "UTC"), date=pa.timestamp("us")),
        use_deprecated_int96_timestamps=True, use_dictionary=False, data_page_version="2.0")
for name, typ in (("decimal32", pa.decimal32(9, 2)), ("decimal64", pa.decimal64(12, 2)), ("decimal128", pa.decimal128(12, 2)),
                  ("decimal128(38, 2)", pa.decimal128(38, 2)), ("decimal256(60, 2)", pa.decimal256(60, 2)), ("double", pa.float64())):
    parquet(f"amounts as {name}", original.typed(money=typ))
for precision in (9, 12):
    parquet(f"amounts as decimal in int{32 if precision == 9 else 64}", original.typed(money=pa.decimal128(precision, 2)), store_decimal_as_integer=True)
for typ in (pa.int8(), pa.int16(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64(), pa.float32()):
    parquet(f"numbers as {typ}", original.typed(integer=typ))
for version in ("1.0", "2.0"):
    parquet(f"nested lines, pages v{version[0]}", nested, compression="zstd", data_page_version=version)
parquet("nested lines, no dictionary, small pages", nested, use_dictionary=False, data_page_size=64, write_batch_size=8)
parquet("nested lines, lists without 'element'", nested, use_compliant_nested_type=False)
parquet("nested lines, row groups of 7 rows", nested, row_group_size=7)
for kind in UNUSED:
    if kind != "duration":
        parquet(f"unused column: {kind}", only_claims(with_unused(text["claims"], kind)))
parquet("unused column: list, nested lines", {**nested, "claims": with_unused(nested["claims"], "list")})
cases.each("ending .parq", text, ".parq", pq.write_table)
cases.each("ending .pq", text, ".pq", pq.write_table)
cases.each("ending .snappy.parquet", text, ".snappy.parquet", pq.write_table)


def pieces(table, path):
    for i in range(3):
        pq.write_table(table.slice(i * table.num_rows // 3, (i + 1) * table.num_rows // 3 - i * table.num_rows // 3), f"{path}-{i}.parquet")


cases.each("three files a table", text, "", pieces)
cases.each("a table without rows beside the others", text, "", lambda table, path: (
    pq.write_table(table, path + ".parquet"), pq.write_table(table.slice(0, 0), path + "-empty.parquet")))
for name, options in (("hive folders", dict(partition_cols=["delivery"])),
                      ("hive folders of days", dict(partition_cols=["day"]))):
    with cases.case(name) as folder:
        for table_name, table in text.items():
            table = in_batches(table)
            if "day" in name:
                table = table.rename_columns({"delivery": "day"})
            pq.write_to_dataset(table, os.path.join(folder, table_name), **options)
with cases.case("hive folders of a column that is needed") as folder:
    for table_name, table in text.items():
        if table_name == "claims":
            pq.write_to_dataset(table, os.path.join(folder, table_name), partition_cols=["claim_payer_identifier"])
        else:
            pq.write_table(table, os.path.join(folder, table_name + ".parquet"))
with cases.case("dataset with _metadata") as folder:
    for table_name, table in text.items():
        collected, root = [], os.path.join(folder, table_name)
        pq.write_to_dataset(table, root, metadata_collector=collected)
        pq.write_metadata(table.schema, os.path.join(root, "_common_metadata"))
        pq.write_metadata(table.schema, os.path.join(root, "_metadata"), metadata_collector=collected)


def encrypted(plaintext_footer):
    import base64

    import pyarrow.parquet.encryption as pe

    class Client(pe.KmsClient):
        def __init__(self, config):
            pe.KmsClient.__init__(self)

        def wrap_key(self, key, master):
            return base64.b64encode(key)

        def unwrap_key(self, key, master):
            return base64.b64decode(key)

    factory, config = pe.CryptoFactory(Client), pe.EncryptionConfiguration(
        footer_key="f", column_keys={"k": ["member_id"]}, plaintext_footer=plaintext_footer)
    return lambda table, path: write_encrypted(table, path, factory.file_encryption_properties(pe.KmsConnectionConfig(), config))


def write_encrypted(table, path, properties):
    with pq.ParquetWriter(path, table.schema, encryption_properties=properties) as w:
        w.write_table(table)


for plaintext in (False, True):
    with cases.case("encrypted, " + ("plain footer" if plaintext else "encrypted footer")) as folder:
        write = encrypted(plaintext)
        for name in ("claims", "members", "coverages"):
            write(text[name], os.path.join(folder, name + ".parquet"))
