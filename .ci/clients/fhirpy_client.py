"""Reads a member's claims with fhirpy, page by page, and prints what it got.

    fhirpy_client.py BASE PATIENT"""
import json
import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

base, patient = sys.argv[1:3]
client = SyncFHIRClient(base)
read = client.resources("Patient").search(_id=patient).get()
claims = client.resources("ExplanationOfBenefit").search(patient=patient).limit(3).fetch_all()
coverages = client.resources("Coverage").search(patient=patient).fetch_all()
sorted_claims = client.resources("ExplanationOfBenefit").search(patient=patient, service_date__ge="2000").sort("-service-date").fetch_all()
status = 0
try:
    client.reference("Patient", "nobody").to_resource()
except ResourceNotFound:
    status = 404
print(json.dumps({"fhirVersion": "4.0.1", "read": read["id"], "ids": [c["id"] for c in claims], "coverages": [c["id"] for c in coverages],
                  "sorted": [c["id"] for c in sorted_claims], "missing": status}))
