-- The JSON of claims by string concatenation. Fragments of constants are as long as they
-- can be, lines become text before they are grouped, and the header is put together once
-- a claim, after grouping.

-- One coding in a category, as almost everything in an ExplanationOfBenefit has.
create macro concept(sys, code) as '{"coding":[{"system":"' || sys || '","code":"' || code || '"}]}';
-- Null where there is no value, so that coalesce leaves the fragment out.
create macro amount(sys, code, v) as coalesce(',{"category":' || concept(sys, code) || ',"amount":{"value":' || v || ',"currency":"USD"}}', '');
create macro units(code, v) as coalesce(',{"category":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudicationDiscriminator', code) || ',"value":' || v || '}', '');
create macro status(code, v) as coalesce(',{"category":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudicationDiscriminator', code) || ',"reason":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBPayerAdjudicationStatus', v) || '}', '');
create macro member(role, npi) as coalesce(',{"sequence":1,"provider":{"reference":"Practitioner/' || npi || '"},"role":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBClaimCareTeamRole', role) || '}', '');
create macro info(category, element, v) as coalesce(',{"sequence":1,"category":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBSupportingInfoType', category) || ',"' || element || '":"' || v || '"}', '');
create macro infocode(category, sys, v) as coalesce(',{"sequence":1,"category":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBSupportingInfoType', category) || ',"code":' || concept(sys, v) || '}', '');

copy (
  with lines as (
    select *,
      case when line_number is null then null else
      '{"sequence":' || line_number ||
      coalesce(',"revenue":' || concept('https://www.nubc.org/CodeSystem/RevenueCodes', revenue_center_code), '') ||
      ',"productOrService":' || coalesce(concept('http://www.ama-assn.org/go/cpt', procedure_code), '{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"not-applicable"}]}') ||
      coalesce(',"modifier":[' || concept('http://www.ama-assn.org/go/cpt', procedure_modifier_code_1) || ']', '') ||
      ',"servicedDate":"' || service_from_date || '"' ||
      coalesce(',"locationCodeableConcept":' || concept('https://www.cms.gov/Medicare/Coding/place-of-service-codes/Place_of_Service_Code_Set', place_of_service_code), '') ||
      coalesce(',"quantity":{"value":' || number_of_units || '}', '') ||
      ',"adjudication":[' || substr(
        status('benefitpaymentstatus', line_benefit_payment_status) || units('allowedunits', allowed_number_of_units)
        || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'submitted', line_submitted_amount)
        || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'eligible', line_eligible_amount)
        || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'deductible', line_patient_deductible)
        || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'copay', line_copay_amount)
        || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'benefit', line_payment_amount)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'coinsurance', line_coinsurance_amount)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'noncovered', line_noncovered_amount)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'priorpayerpaid', line_other_payer_paid_amount)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'paidtoprovider', line_amount_paid_to_provider)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'memberliability', line_member_liability)
        || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'discount', line_discount_amount), 2) || ']}' end as item,
      case when diagnosis_code is null then null else
      '{"sequence":1,"diagnosisCodeableConcept":' || concept('http://hl7.org/fhir/sid/icd-10-cm', diagnosis_code) ||
      coalesce(',"type":[' || concept('http://terminology.hl7.org/CodeSystem/ex-diagnosistype', diagnosis_type) || ']', '') || '}' end as diagnosis
    from read_parquet('{extract}')
  ),
  claims as (
    select claim_unique_identifier,
      string_agg(item, ',' order by cast(line_number as integer)) as items, string_agg(distinct diagnosis, ',') as diagnoses,
      any_value(adjudication_date) as adjudication_date,
      any_value(admission_type_code) as admission_type_code,
      any_value(amount_paid_by_patient) as amount_paid_by_patient,
      any_value(attending_provider_npi) as attending_provider_npi,
      any_value(billing_provider_network_status) as billing_provider_network_status,
      any_value(billing_provider_npi) as billing_provider_npi,
      any_value(claim_amount_paid_to_provider) as claim_amount_paid_to_provider,
      any_value(claim_last_updated_date) as claim_last_updated_date,
      any_value(claim_noncovered_amount) as claim_noncovered_amount,
      any_value(claim_other_payer_paid_amount) as claim_other_payer_paid_amount,
      any_value(claim_paid_date) as claim_paid_date,
      any_value(claim_payee_type_code) as claim_payee_type_code,
      any_value(claim_payer_identifier) as claim_payer_identifier,
      any_value(claim_payment_amount) as claim_payment_amount,
      any_value(claim_payment_member_explanation) as claim_payment_member_explanation,
      any_value(claim_payment_status_code) as claim_payment_status_code,
      any_value(claim_processing_status_code) as claim_processing_status_code,
      any_value(claim_received_date) as claim_received_date,
      any_value(claim_total_discount_amount) as claim_total_discount_amount,
      any_value(claim_total_eligible_amount) as claim_total_eligible_amount,
      any_value(claim_total_submitted_amount) as claim_total_submitted_amount,
      any_value(claim_type) as claim_type,
      any_value(claim_type_of_bill_code) as claim_type_of_bill_code,
      any_value(coinsurance_liability_amount) as coinsurance_liability_amount,
      any_value(copay_amount) as copay_amount,
      any_value(coverage_id) as coverage_id,
      any_value(medical_record_number) as medical_record_number,
      any_value(member_id) as member_id,
      any_value(member_liability) as member_liability,
      any_value(member_paid_deductible) as member_paid_deductible,
      any_value(member_reimbursement) as member_reimbursement,
      any_value(patient_account_number) as patient_account_number,
      any_value(patient_discharge_status_code) as patient_discharge_status_code,
      any_value(pcp_npi) as pcp_npi,
      any_value(performing_provider_npi) as performing_provider_npi,
      any_value(performing_provider_taxonomy) as performing_provider_taxonomy,
      any_value(point_of_origin_code) as point_of_origin_code,
      any_value(referring_provider_npi) as referring_provider_npi,
      any_value(statement_from_date) as statement_from_date,
      any_value(statement_thru_date) as statement_thru_date
    from lines group by claim_unique_identifier
  )
  select '{"resourceType":"ExplanationOfBenefit","id":"e' || substr(sha256(claim_unique_identifier), 1, 26) ||
    '","meta":{"lastUpdated":"' || claim_last_updated_date || '","profile":["http://hl7.org/fhir/us/carin-bb/StructureDefinition/C4BB-ExplanationOfBenefit-Professional-NonClinician|2.2.0"]},"identifier":[{"type":' ||
    concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBIdentifierType', 'uc') || ',"system":"https://example.org/fhir/sid/claim","value":"' || claim_unique_identifier ||
    '"}],"status":"' || claim_processing_status_code || '","type":' || concept('http://terminology.hl7.org/CodeSystem/claim-type', claim_type) || ',"use":"claim","patient":{"reference":"Patient/' || substr(sha256(member_id), 1, 27) ||
    '"},"billablePeriod":{"start":"' || statement_from_date || '","end":"' || statement_thru_date || '"},"created":"' || adjudication_date || '","insurer":{"reference":"Organization/' || substr(sha256(claim_payer_identifier), 1, 27) ||
    '"},"provider":{"reference":"Organization/' || coalesce(billing_provider_npi, '') || '"},"payee":{"type":' || concept('http://terminology.hl7.org/CodeSystem/payeetype', claim_payee_type_code) || '},"outcome":"complete","careTeam":[' || substr(member('rendering', performing_provider_npi) || member('attending', attending_provider_npi) || member('referring', referring_provider_npi) || member('primary', pcp_npi), 2) ||
    '],"supportingInfo":[' || substr(info('clmrecvddate', 'timingDate', claim_received_date) || info('medicalrecordnumber', 'valueString', medical_record_number) || info('patientaccountnumber', 'valueString', patient_account_number) || infocode('admtype', 'https://www.nubc.org/CodeSystem/PriorityTypeOfAdmitOrVisit', admission_type_code) || infocode('pointoforigin', 'https://www.nubc.org/CodeSystem/PointOfOrigin', point_of_origin_code) || infocode('discharge-status', 'https://www.nubc.org/CodeSystem/PatDischargeStatus', patient_discharge_status_code) || infocode('typeofbill', 'https://www.nubc.org/CodeSystem/TypeOfBill', claim_type_of_bill_code), 2) ||
    '],"diagnosis":[' || coalesce(diagnoses, '') || '],"insurance":[{"focal":true,"coverage":{"reference":"Coverage/' || substr(sha256(coverage_id), 1, 27) || '"}}],"item":[' || coalesce(items, '') ||
    '],"adjudication":[' || substr(status('billingnetworkstatus', billing_provider_network_status), 2) || '],"total":[' || substr(amount('http://terminology.hl7.org/CodeSystem/adjudication', 'submitted', claim_total_submitted_amount) || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'eligible', claim_total_eligible_amount) || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'deductible', member_paid_deductible) || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'copay', copay_amount) || amount('http://terminology.hl7.org/CodeSystem/adjudication', 'benefit', claim_payment_amount) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'coinsurance', coinsurance_liability_amount) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'noncovered', claim_noncovered_amount) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'priorpayerpaid', claim_other_payer_paid_amount) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'paidbypatient', amount_paid_by_patient) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'paidtoprovider', claim_amount_paid_to_provider) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'paidtopatient', member_reimbursement) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'memberliability', member_liability) || amount('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBAdjudication', 'discount', claim_total_discount_amount), 2) ||
    ']' || coalesce(',"payment":{"type":' || concept('http://hl7.org/fhir/us/carin-bb/CodeSystem/C4BBPayerAdjudicationStatus', claim_payment_status_code) || coalesce(',"date":"' || claim_paid_date || '"', '') || '}', '') || '}'
  from claims
) to '{out}' (format csv, header false, quote '', escape '', delimiter '	');
