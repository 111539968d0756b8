import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.model.api.Include;
import ca.uhn.fhir.rest.client.api.IGenericClient;
import ca.uhn.fhir.rest.client.api.ServerValidationModeEnum;
import ca.uhn.fhir.rest.gclient.ReferenceClientParam;
import ca.uhn.fhir.rest.server.exceptions.ResourceNotFoundException;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeSet;
import org.hl7.fhir.r4.model.Bundle;
import org.hl7.fhir.r4.model.Coverage;
import org.hl7.fhir.r4.model.ExplanationOfBenefit;
import org.hl7.fhir.r4.model.Patient;

/** Reads a member's claims with HAPI's client, page by page, and prints what it got: Hapi BASE PATIENT. */
public class Hapi {
    public static void main(String[] args) {
        FhirContext context = FhirContext.forR4();
        context.getRestfulClientFactory().setServerValidationMode(ServerValidationModeEnum.ONCE); // it reads /metadata first
        IGenericClient client = context.newRestfulGenericClient(args[0]);
        Patient read = client.read().resource(Patient.class).withId(args[1]).execute();
        List<String> ids = new ArrayList<>();
        TreeSet<String> includes = new TreeSet<>();
        Bundle page = client.search().forResource(ExplanationOfBenefit.class).where(new ReferenceClientParam("patient").hasId(args[1]))
            
            .include(new Include("ExplanationOfBenefit:insurer")).include(new Include("ExplanationOfBenefit:coverage")).count(3).returnBundle(Bundle.class).execute();
        while (page != null) {
            for (Bundle.BundleEntryComponent e : page.getEntry()) {
                if (e.getSearch().getMode() == Bundle.SearchEntryMode.MATCH) {
                    ids.add(e.getResource().getIdElement().getIdPart());
                } else {
                    includes.add(e.getResource().fhirType() + "/" + e.getResource().getIdElement().getIdPart());
                }
            }
            page = page.getLink(Bundle.LINK_NEXT) == null ? null : client.loadPage().next(page).execute();
        }
        List<String> coverages = new ArrayList<>();
        Bundle found = client.search().forResource(Coverage.class).where(Coverage.BENEFICIARY.hasId(args[1])).usingStyle(ca.uhn.fhir.rest.api.SearchStyleEnum.POST)
            .returnBundle(Bundle.class).execute();
        found.getEntry().forEach(e -> coverages.add(e.getResource().getIdElement().getIdPart()));
        int missing = 0;
        try {
            client.read().resource(Patient.class).withId("nobody").execute();
        } catch (ResourceNotFoundException e) {
            missing = e.getStatusCode();
        }
        System.out.println("{\"fhirVersion\":\"4.0.1\",\"read\":\"" + read.getIdElement().getIdPart() + "\",\"ids\":" + json(ids) + ",\"includes\":" + json(includes)
            + ",\"coverages\":" + json(coverages) + ",\"missing\":" + missing + "}");
    }

    private static String json(Iterable<String> list) {
        StringBuilder b = new StringBuilder("[");
        for (String s : list) {
            b.append(b.length() > 1 ? ",\"" : "\"").append(s).append('"');
        }
        return b.append(']').toString();
    }
}
