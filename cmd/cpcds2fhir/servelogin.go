package main

import (
	"time"

	upstream "cpcds2fhir/internal/identity" // identity is this program's key of ids
)

// loginConfig says how people sign in: members, or developers and staff.
type loginConfig struct {
	Passwords  bool          `yaml:"passwords"`
	Issuer     string        `yaml:"issuer"`
	Client     string        `yaml:"client"`
	Secret     secret        `yaml:"secret"`
	Key        secret        `yaml:"key"`
	KeyID      string        `yaml:"key_id"`
	Scopes     []string      `yaml:"scopes"`
	Prompt     string        `yaml:"prompt"`
	MaxAge     time.Duration `yaml:"max_age"`
	LevelClaim string        `yaml:"level_claim"`
	Levels     []string      `yaml:"levels"`
	AnyLevel   bool          `yaml:"any_level"`
	UserInfo   bool          `yaml:"userinfo"`
	Rules      string        `yaml:"rules"`
}

// upstreamConfig is how the identity provider is reached.
func (c *loginConfig) upstreamConfig(redirect string, rules []upstream.Rule) *upstream.Config {
	config := &upstream.Config{
		Issuer: c.Issuer, ClientID: c.Client, KeyID: c.KeyID, RedirectURL: redirect, Scopes: c.Scopes, Prompt: c.Prompt,
		MaxAge: c.MaxAge, LevelClaim: c.LevelClaim, Levels: c.Levels, AnyLevel: c.AnyLevel, UserInfo: c.UserInfo, Rules: rules,
	}
	if c.Secret != "" {
		config.Secret = c.Secret.read
	}
	if c.Key != "" {
		config.Key = func() ([]byte, error) {
			text, err := c.Key.read()
			return []byte(text), err
		}
	}
	return config
}
