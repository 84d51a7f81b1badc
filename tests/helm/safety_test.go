package helm

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

func env(container corev1.Container) map[string]corev1.EnvVar {
	variables := map[string]corev1.EnvVar{}
	for _, variable := range container.Env {
		variables[variable.Name] = variable
	}
	return variables
}

// A namespace that enforces the level "restricted" takes every pod: Kubernetes' own judge says so, with its rules.
func TestPodsAreRestricted(t *testing.T) {
	judge, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	each(t, func(t *testing.T, _ string, r rendered) {
		for _, p := range r.pods() {
			for _, result := range judge.EvaluatePod(level, &p.ObjectMeta, &p.Spec) {
				if !result.Allowed {
					t.Errorf("%s: %s: %s", p.owner, result.ForbiddenReason, result.ForbiddenDetail)
				}
			}
		}
	})
}

// What that level leaves open.
func TestPodsHaveNoMoreThanTheyNeed(t *testing.T) {
	each(t, func(t *testing.T, _ string, r rendered) {
		for _, p := range r.pods() {
			if p.Spec.AutomountServiceAccountToken == nil || *p.Spec.AutomountServiceAccountToken {
				t.Errorf("%s gets a token for Kubernetes", p.owner)
			}
			for _, container := range p.Spec.Containers {
				if read := container.SecurityContext.ReadOnlyRootFilesystem; read == nil || !*read {
					t.Errorf("%s/%s may write to its root", p.owner, container.Name)
				}
				if p.ours() && *p.Spec.SecurityContext.RunAsUser != 65532 {
					t.Errorf("%s runs as %d", p.owner, *p.Spec.SecurityContext.RunAsUser)
				}
				if p.ours() || container.Name == "nats" {
					if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Memory().IsZero() {
						t.Errorf("%s/%s has no bound of memory", p.owner, container.Name)
					}
				}
			}
		}
	})
}

// The names that hold a secret, and the roles that know them: the table "How it scales" of the README.
var secrets = map[string][]string{
	"JWT_SECRET_KEY":             {"edge"},
	"JWT_SECRET_KEY_PREVIOUS":    {"edge"},
	"IDENTITY_SECRET":            {"edge"},
	"CAPTCHA_SECRET_KEY":         {"edge"},
	"SESSION_SECRET_KEY":         {"worker"},
	"N8N_API_KEY":                {"worker"},
	"N8N_API_TOKEN":              {"worker"},
	"ADMIN_TOKEN":                {"analytics"},
	"SITE_TOKENS":                {"analytics"},
	"METRICS_TOKEN":              {"edge", "worker", "analytics"},
	"OTEL_EXPORTER_OTLP_HEADERS": {"edge", "worker", "analytics"},
	"NATS_PASSWORD":              {"edge", "worker", "analytics", "nats-setup"},
	"NATS_NKEY":                  {"edge", "worker", "analytics", "nats-setup"},
}

// Each role gets its own secrets by reference and none of the others'; no value of one stands anywhere but in a Secret.
func TestSecretsComeByReferenceAndToTheirRoleAlone(t *testing.T) {
	each(t, func(t *testing.T, variant string, r rendered) {
		var values []string
		for _, secret := range all[*corev1.Secret](r) {
			for key, value := range secret.StringData {
				if key != "n8n-sites.json" {
					values = append(values, value)
				}
			}
		}
		values = append(values, "only-in-the-secret")
		for _, p := range r.pods() {
			for _, container := range p.Spec.Containers {
				for name, variable := range env(container) {
					if slices.ContainsFunc(values, func(secret string) bool { return strings.Contains(variable.Value, secret) }) {
						t.Errorf("%s shows the secret %s", p.owner, name)
					}
					roles, secret := secrets[name]
					if !p.ours() {
						roles, secret = []string{"nats"}, strings.HasSuffix(name, "_PASSWORD")
					}
					if secret && (variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil) {
						t.Errorf("%s doesn't get %s from a Secret", p.owner, name)
					}
					if secret && !slices.Contains(roles, p.role()) {
						t.Errorf("%s knows %s", p.owner, name)
					}
					if name == "NATS_PASSWORD" || name == "NATS_NKEY" {
						user := map[string]string{"nats-setup": "ADMIN"}[p.role()]
						if user == "" {
							user = strings.ToUpper(p.role())
						}
						if key := variable.ValueFrom.SecretKeyRef.Key; key != strings.Replace(name, "NATS_", "NATS_"+user+"_", 1) {
							t.Errorf("%s reads %s as %s", p.owner, name, key)
						}
					}
				}
			}
		}
		for _, config := range all[*corev1.ConfigMap](r) {
			for key, text := range config.Data {
				if slices.ContainsFunc(values, func(secret string) bool { return strings.Contains(text, secret) }) {
					t.Errorf("%s shows a secret in %s", config.Name, key)
				}
			}
		}
	})
}

// What a collector of traces asks for goes to each role that makes spans.
func TestEachRoleGetsTheHeadersForItsCollector(t *testing.T) {
	const name = "OTEL_EXPORTER_OTLP_HEADERS"
	var told []string
	for _, p := range render(t, release, "external-nats").pods() {
		for _, container := range p.Spec.Containers {
			if variable, ok := env(container)[name]; ok && variable.ValueFrom.SecretKeyRef.Key == name {
				told = append(told, p.role())
			}
		}
	}
	slices.Sort(told)
	if !slices.Equal(told, []string{"analytics", "edge", "worker"}) {
		t.Errorf("%s goes to %v", name, told)
	}
}

// Every name that a role gets stands in the README's table of settings.
func TestSettingsAreThoseOfTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile("(?m)^\\| `([A-Z0-9_]+)` \\|").FindAllStringSubmatch(string(readme), -1)
	var settings []string
	for _, row := range table {
		settings = append(settings, row[1])
	}
	if len(settings) < 100 {
		t.Fatalf("%d settings in the README", len(settings))
	}
	for name := range secrets {
		if !slices.Contains(settings, name) {
			t.Errorf("%s is no setting", name)
		}
	}
	each(t, func(t *testing.T, _ string, r rendered) {
		for _, p := range r.pods() {
			if !p.ours() {
				continue
			}
			names := map[string]int{}
			for _, variable := range p.Spec.Containers[0].Env {
				names[variable.Name]++
				if !slices.Contains(settings, variable.Name) {
					t.Errorf("%s gets %s, which no role reads", p.owner, variable.Name)
				}
			}
			for name, times := range names {
				if times > 1 {
					t.Errorf("%s gets %s %d times", p.owner, name, times)
				}
			}
		}
	})
}

// What is asked for health is what the roles answer: `/health/live` and `/health/ready`, where they listen.
func TestProbesAskWhatIsThere(t *testing.T) {
	routes := ""
	for _, file := range []string{"../../services/edge/src/routes.rs", "../../shared/runtime/src/ops.rs"} {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		routes += string(source)
	}
	listens := map[string]string{"edge": "API_PORT", "worker": "WORKER_ADDR", "analytics": "ANALYTICS_ADDR"}
	each(t, func(t *testing.T, _ string, r rendered) {
		for _, p := range r.pods() {
			name, serves := listens[p.role()]
			if !serves {
				continue
			}
			container := p.Spec.Containers[0]
			if len(container.Args) != 1 || container.Args[0] != p.role() {
				t.Errorf("%s runs %v", p.owner, container.Args)
			}
			address := env(container)[name].Value
			port := address[strings.LastIndex(address, ":")+1:]
			if got := container.Ports[0]; got.Name != "http" || port != itoa(got.ContainerPort) {
				t.Errorf("%s listens on %s, and its port is %v", p.owner, address, got)
			}
			for path, probe := range map[string]*corev1.Probe{"/health/live": container.LivenessProbe, "/health/ready": container.ReadinessProbe} {
				if probe.HTTPGet.Path != path || probe.HTTPGet.Port.String() != "http" {
					t.Errorf("%s is asked for %v", p.owner, probe.HTTPGet)
				}
				if strings.Count(routes, `"`+path+`"`) < 2 {
					t.Errorf("no role answers %s", path)
				}
			}
		}
	})
}

// Kubernetes waits for longer than a role may drain, and the edge lingers before that.
func TestEachHasTheTimeToDrain(t *testing.T) {
	for _, more := range [][]string{nil, {"--set", "edge.drainSeconds=90,edge.lingerSeconds=15,worker.drainSeconds=600"}} {
		r := render(t, release, "minimal", more...)
		for name, it := range all[*appsv1.Deployment](r) {
			container := it.Spec.Template.Spec.Containers[0]
			drain, err := time.ParseDuration(env(container)["DRAIN_TIMEOUT"].Value)
			if err != nil {
				t.Fatal(err)
			}
			linger := time.Duration(0)
			if strings.HasSuffix(name, "-edge") {
				linger = time.Duration(container.Lifecycle.PreStop.Sleep.Seconds) * time.Second
				if linger == 0 {
					t.Error("an edge doesn't wait for the endpoints to learn that it goes")
				}
			}
			grace := time.Duration(*it.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
			// The bus flushes for three seconds at most.
			if grace < linger+drain+5*time.Second {
				t.Errorf("%s is killed after %v: it lingers for %v and drains for %v", name, grace, linger, drain)
			}
			update := it.Spec.Strategy.RollingUpdate
			if update.MaxUnavailable.IntValue() != 0 || update.MaxSurge.IntValue() != 1 {
				t.Errorf("%s goes before the next is there: %v", name, update)
			}
		}
	}
}
