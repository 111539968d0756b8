package desk

import (
	"fmt"
	"time"

	"cpcds2fhir/internal/portal"
)

const deviceCookie = "device"

// fromDevice notes which browser the request comes from.
func (v *Visit) fromDevice() {
	if id := v.CookieID(deviceCookie); id != "" {
		v.R = v.R.WithContext(portal.FromDevice(v.R.Context(), id))
	}
}

// remember lets the portal know the browser again by which somebody has signed in. That it fails is no reason to keep
// them out.
func (v *Visit) remember(person string) {
	id, err := v.Portal().RememberDevice(v.Context(), person)
	if err != nil {
		v.Fault(fmt.Errorf("remember a browser: %w", err))
		return
	}
	if id != "" {
		v.SetCookie(deviceCookie, id, int(portal.DeviceFor/time.Second))
	}
}

// LimitSignIn counts a try to sign in as somebody, by their address or id. A browser in which they have signed in
// before is counted by itself, so that others, who only know the address, do not keep them out.
func (v *Visit) LimitSignIn(who string) error {
	known, err := v.Portal().KnowsDevice(v.Context(), who)
	if err != nil {
		return err
	}
	if known {
		who += " with " + v.CookieID(deviceCookie)
	}
	return v.Limit(SignIn, who)
}
