"""Load a folder of NDJSON files into a FHIR server: one PUT for each resource.

    fhir_put.py FOLDER URL

It prints how many resources it has put, and in how many seconds.
"""

import json
import pathlib
import sys
import time

import requests

TYPES = ["Organization", "Practitioner", "Patient", "RelatedPerson", "Coverage", "ExplanationOfBenefit"]


def main():
    folder, url = pathlib.Path(sys.argv[1]), sys.argv[2]
    session = requests.Session()
    session.headers["Content-Type"] = "application/fhir+json"
    began, put = time.monotonic(), 0
    for kind in TYPES:
        for part in sorted((folder / kind).glob("part-*")):
            with part.open(encoding="utf-8") as lines:
                for line in lines:
                    resource = json.loads(line)
                    answer = session.put(f"{url}/{kind}/{resource['id']}", data=json.dumps(resource), timeout=120)
                    answer.raise_for_status()
                    put += 1
    print(put, time.monotonic() - began)


main()
