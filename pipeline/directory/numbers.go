package directory

import "cpcds2fhir/schemas/cpcds"

// numbers represent the columns of the small tables in the digests of stamps. A number never
// changes and is never reused, or a different one of equally new rows might be selected. A new
// column gets the next number.
var numbers = map[string]uint16{
	"members.member_id":                            158,
	"members.unique_member_id":                     159,
	"members.member_family_name":                   160,
	"members.member_given_name":                    161,
	"members.member_middle_name":                   162,
	"members.date_of_birth":                        163,
	"members.date_of_death":                        164,
	"members.deceased":                             165,
	"members.gender_code":                          166,
	"members.birth_sex":                            167,
	"members.race_code":                            168,
	"members.ethnicity":                            169,
	"members.street_address":                       170,
	"members.city":                                 171,
	"members.county":                               172,
	"members.state":                                173,
	"members.country":                              174,
	"members.zip_code":                             175,
	"members.address_begin_date":                   176,
	"members.address_end_date":                     177,
	"members.member_last_updated_date":             178,
	"coverages.coverage_id":                        179,
	"coverages.member_id":                          180,
	"coverages.subscriber_id":                      181,
	"coverages.subscriber_family_name":             182,
	"coverages.subscriber_given_name":              183,
	"coverages.dependent_number":                   184,
	"coverages.payer_identifier":                   185,
	"coverages.coverage_type":                      186,
	"coverages.coverage_status":                    187,
	"coverages.start_date":                         188,
	"coverages.end_date":                           189,
	"coverages.group_id":                           190,
	"coverages.group_name":                         191,
	"coverages.plan_identifier":                    192,
	"coverages.plan_name":                          193,
	"coverages.relationship_to_subscriber":         194,
	"coverages.coverage_last_updated_date":         195,
	"providers.provider_id":                        196,
	"providers.provider_npi":                       197,
	"providers.provider_tax_id":                    198,
	"providers.provider_family_name":               199,
	"providers.provider_given_name":                200,
	"providers.provider_prefix":                    201,
	"providers.provider_suffix":                    202,
	"providers.provider_taxonomy":                  203,
	"providers.provider_street_address":            204,
	"providers.provider_city":                      205,
	"providers.provider_state":                     206,
	"providers.provider_zip_code":                  207,
	"providers.provider_phone":                     208,
	"providers.provider_last_updated_date":         209,
	"organizations.organization_id":                210,
	"organizations.organization_npi":               211,
	"organizations.organization_payer_identifier":  212,
	"organizations.organization_naic_code":         213,
	"organizations.organization_tax_id":            214,
	"organizations.organization_name":              215,
	"organizations.organization_active":            216,
	"organizations.organization_street_address":    217,
	"organizations.organization_city":              218,
	"organizations.organization_state":             219,
	"organizations.organization_zip_code":          220,
	"organizations.organization_country":           221,
	"organizations.organization_phone":             222,
	"organizations.organization_last_updated_date": 223,
}

// numberOf has the number of each element, 0 if it has none.
var numberOf = func() (of [cpcds.NumElements]uint16) {
	for t := range cpcds.Claims {
		for _, e := range cpcds.Columns(t) {
			of[e] = numbers[t.String()+"."+e.Column()]
		}
	}
	return of
}()
