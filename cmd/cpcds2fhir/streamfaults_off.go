//go:build !targetfaults

package main

import (
	"go.uber.org/zap"

	"cpcds2fhir/pipeline"
)

func withFaults(t pipeline.StreamTarget, _ *zap.Logger) pipeline.StreamTarget { return t }
