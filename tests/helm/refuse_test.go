package helm

import (
	"strings"
	"testing"
)

// What would be unsafe, or start and not work, is refused with a sentence that says what to do.
func TestBadValuesAreRefusedWithASentence(t *testing.T) {
	for name, it := range map[string]struct {
		variant string
		set     string
		says    string
	}{
		"nothing said":          {"", "", "worker.settings.N8N_WEBHOOK_URL is missing"},
		"no secret":             {"", "worker.settings.N8N_WEBHOOK_URL=https://n8n.example/webhook/x", "secrets.JWT_SECRET_KEY is missing. Make one with `frontdesk keys`"},
		"no key for n8n":        {"minimal", "secrets.SESSION_SECRET_KEY=", "secrets.SESSION_SECRET_KEY is missing"},
		"short":                 {"minimal", "secrets.JWT_SECRET_KEY=password", "secrets.JWT_SECRET_KEY is shorter than 32 bytes"},
		"short admin":           {"minimal", "secrets.ADMIN_TOKEN=admin", "secrets.ADMIN_TOKEN is shorter than 32 bytes"},
		"twice the same":        {"minimal", "secrets.JWT_SECRET_KEY=test-only-test-only-test-only-test-only-2", "must differ"},
		"no password":           {"minimal", "secrets.NATS_ADMIN_PASSWORD=", "secrets.NATS_ADMIN_PASSWORD is missing"},
		"guessable password":    {"minimal", "secrets.NATS_EDGE_PASSWORD=edge", "secrets.NATS_EDGE_PASSWORD must begin with a letter, have 20 characters"},
		"a number to nats":      {"minimal", "secrets.NATS_EDGE_PASSWORD=1234567890abcdefghijkl", "must begin with a letter"},
		"no seed":               {"external-nats", "secrets.NATS_WORKER_NKEY=", "secrets.NATS_WORKER_NKEY is missing"},
		"unknown secret":        {"minimal", "secrets.JWT_SECRET=x", "JWT_SECRET"},
		"two places":            {"minimal", "global.frontdeskSecret=mine", "two places for the same thing"},
		"secret as setting":     {"minimal", "edge.settings.JWT_SECRET_KEY=x", "edge.settings.JWT_SECRET_KEY is a secret"},
		"secret for all":        {"minimal", "settings.METRICS_TOKEN=x", "settings.METRICS_TOKEN is a secret"},
		"headers as setting":    {"minimal", "settings.OTEL_EXPORTER_OTLP_HEADERS=x-key=y", "settings.OTEL_EXPORTER_OTLP_HEADERS is a secret"},
		"nats as setting":       {"minimal", "settings.NATS_URL=nats://x", "stands in natsClient"},
		"address as setting":    {"minimal", "worker.settings.WORKER_ADDR=0.0.0.0:80", "the chart sets it"},
		"not for one role":      {"minimal", "edge.settings.QUEUE_TIMEOUT=40s", "must be the same for all roles"},
		"drain as setting":      {"minimal", "settings.DRAIN_TIMEOUT=5m", "use edge.drainSeconds"},
		"no proxies":            {"minimal", "ingress.enabled=true,ingress.host=chat.shop.example", "edge.settings.TRUSTED_PROXIES is missing"},
		"no host":               {"minimal", "ingress.enabled=true", "ingress.host is missing"},
		"no nats":               {"minimal", "nats.enabled=false", "natsClient.url is missing"},
		"two nats":              {"minimal", "natsClient.url=nats://x:4222", "natsClient.url is for a NATS that is there already"},
		"bundled without users": {"minimal", "natsClient.auth=none", "natsClient.auth must be `password`"},
		"nats without its CA":   {"minimal", "nats.config.nats.tls.enabled=true,nats.config.nats.tls.secretName=x", "natsClient.tls.secret is missing"},
		"password in the url":   {"external-nats", "natsClient.url=nats://u:p@x:4222", "natsClient"},
		"half a certificate":    {"full", "natsClient.tls.key=", "natsClient.tls.cert and natsClient.tls.key go together"},
		"two sites":             {"full", "worker.sitesSecret=x", "worker.sites and worker.sitesSecret"},
		"two widgets":           {"full", "edge.widgetsConfigMap=x", "edge.widgets and edge.widgetsConfigMap"},
		"a site's typo":         {"full", "edge.sites[0].allowed_origin=x", "allowed_origin"},
		"n8n's key at the edge": {"full", "edge.sites[0].api_key=x", "api_key"},
		"a long name":           {"minimal", "nats.enabled=true", "is longer than 40 characters"},
		"a typo":                {"minimal", "egde.replicas=3", "egde"},
		"a typo within":         {"minimal", "edge.replica=3", "replica"},
		"no number":             {"minimal", "edge.autoscaling.minReplicas=two", "minReplicas"},
		"no name of a setting":  {"minimal", "edge.settings.allowed-origins=x", "allowed-origins"},
		"two of analytics":      {"minimal", "analytics.replicas=2", "replicas"},
	} {
		t.Run(name, func(t *testing.T) {
			var more []string
			if it.set != "" {
				more = []string{"--set", it.set}
			}
			called := release
			if name == "a long name" {
				called = strings.Repeat("long-", 10) + "ish"
			}
			out, err := helm(t, template(called, it.variant, more...)...)
			if err == nil {
				t.Fatalf("it was taken:\n%s", out)
			}
			if !strings.Contains(err.Error(), it.says) {
				t.Errorf("it says %v, not %q", err, it.says)
			}
		})
	}
}

func TestAnOldKubernetesIsRefused(t *testing.T) {
	if _, err := helm(t, template(release, "minimal", "--kube-version", "1.29.0")...); err == nil || !strings.Contains(err.Error(), "kubeVersion") {
		t.Errorf("it says %v", err)
	}
}
