package helm

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Maps that are one value, whatever stands in them.
var whole = regexp.MustCompile(`^(secrets|settings)$|\.(settings|resources|annotations|podAnnotations|podLabels|nodeSelector|affinity|labels|widgets)$`)

// leaves are the values that can be set, each with its default.
func leaves(path string, value any, into map[string]any) {
	inner, is := value.(map[string]any)
	if !is || whole.MatchString(path) {
		into[path] = value
		return
	}
	for key, value := range inner {
		// The chart of NATS has a README of its own.
		if path == "nats" && key != "enabled" {
			continue
		}
		leaves(strings.TrimPrefix(path+"."+key, "."), value, into)
	}
}

// spread makes `{edge,worker}.replicas` two names.
func spread(name string) []string {
	list, rest, found := strings.Cut(strings.TrimPrefix(name, "{"), "}")
	if !found {
		return []string{name}
	}
	var names []string
	for _, role := range strings.Split(list, ",") {
		names = append(names, role+rest)
	}
	return names
}

// The README's table has each value once, with its default, and no other.
func TestTheTableOfValuesIsTrue(t *testing.T) {
	var values map[string]any
	if err := yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	leaves("", values, want)
	_, table, _ := strings.Cut(read(t, chart+"/README.md"), "\n## Values\n")
	cell := regexp.MustCompile("`([^`]+)`")
	seen := map[string]bool{}
	for _, line := range strings.Split(table, "\n") {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| `") || len(cells) < 4 {
			continue
		}
		for _, found := range cell.FindAllStringSubmatch(cells[1], -1) {
			for _, name := range spread(found[1]) {
				value, there := want[name]
				if !there {
					t.Errorf("%s is no value", name)
				}
				if seen[name] {
					t.Errorf("%s stands there twice", name)
				}
				seen[name] = true
				said := strings.Trim(cells[2], "` ")
				if plain := fmt.Sprint(value); said != plain && !slices.Contains([]string{"[]", "{}", "{LOG_FORMAT: json}", "measured", "kube-system", "for nginx"}, said) {
					t.Errorf("%s is %q by default, and %q in the table", name, plain, said)
				}
				if empty, _ := json.Marshal(value); (said == "[]" || said == "{}") && string(empty) != said {
					t.Errorf("%s is %s by default, and %s in the table", name, empty, said)
				}
			}
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("%s is missing in the table", name)
		}
	}
}

// The chart's version is that of the executable.
func TestTheChartIsOfThisVersion(t *testing.T) {
	var it struct{ Version, AppVersion string }
	if err := yaml.Unmarshal([]byte(read(t, chart+"/Chart.yaml")), &it); err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^version = "([^"]+)"`).FindStringSubmatch(read(t, "../../Cargo.toml"))
	if version == nil || it.AppVersion != version[1] {
		t.Errorf("the chart is for %s, the executable %v", it.AppVersion, version)
	}
}

// What was brought in is what was looked at.
func TestTheChartOfNatsIsTheOneThatWasBroughtIn(t *testing.T) {
	sum, file, _ := strings.Cut(strings.TrimSpace(read(t, chart+"/charts.sha256")), "  ")
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(read(t, chart+"/"+file)))); got != sum {
		t.Errorf("%s is %s, not %s", file, got, sum)
	}
}

// What an installation says at its end is whole sentences with no secret in them, for each variant.
func TestNotesTellWhatToDoNext(t *testing.T) {
	// `helm template` shows no notes, and an installation needs a cluster: so they become an object of a copy.
	copied := filepath.Join(t.TempDir(), "frontdesk")
	if err := os.CopyFS(copied, os.DirFS(chart)); err != nil {
		t.Fatal(err)
	}
	write(t, copied+"/templates/notes.yaml", `{{ define "notes" }}`+read(t, chart+"/templates/NOTES.txt")+`{{ end }}notes: {{ include "notes" . | toJson }}`)
	for variant, says := range map[string][]string{
		"minimal":       {"deployment/desk-frontdesk-edge", "Nothing leads to it from outside", "ALLOWED_ORIGINS", "without TLS", "statefulset/desk-frontdesk-analytics"},
		"full":          {`<script src="https://chat.shop.example/widget/embed.js" async></script>`, "shop-frontdesk"},
		"external-nats": {"deployment/chat-edge"},
		"no-analytics":  {"There are no NetworkPolicies"},
	} {
		arguments := template(release, variant, "--show-only", "templates/notes.yaml")
		arguments[slices.Index(arguments, chart)] = copied
		out, err := helm(t, arguments...)
		if err != nil {
			t.Fatal(err)
		}
		var it struct{ Notes string }
		if err := yaml.Unmarshal([]byte(out), &it); err != nil {
			t.Fatal(err)
		}
		for _, words := range says {
			if !strings.Contains(it.Notes, words) {
				t.Errorf("%s: %q is missing in\n%s", variant, words, it.Notes)
			}
		}
		if strings.Contains(it.Notes, "test-only") {
			t.Errorf("%s: a secret in\n%s", variant, it.Notes)
		}
	}
}
