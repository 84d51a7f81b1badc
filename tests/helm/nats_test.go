package helm

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/conf"
	corev1 "k8s.io/api/core/v1"
)

// What stands in the environment of nats-server: parsing looks for it.
var natsEnvironment = map[string]string{
	"NATS_STORE_DIR": "/data", "SERVER_NAME": "n1", "NATS_EDGE_PASSWORD": "pw-edge", "NATS_WORKER_PASSWORD": "pw-worker",
	"NATS_ANALYTICS_PASSWORD": "pw-analytics", "NATS_ADMIN_PASSWORD": "pw-admin",
}

func natsConfig(t *testing.T, text string) map[string]any {
	t.Helper()
	for name, value := range natsEnvironment {
		t.Setenv(name, value)
	}
	parsed, err := conf.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// users are their rights by name; the order of subjects says nothing.
func users(t *testing.T, config map[string]any) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, it := range config["authorization"].(map[string]any)["users"].([]any) {
		user := it.(map[string]any)
		found[user["user"].(string)] = user
	}
	return sorted(found).(map[string]any)
}

func sorted(value any) any {
	switch value := value.(type) {
	case map[string]any:
		ordered := map[string]any{}
		for key, inner := range value {
			ordered[key] = sorted(inner)
		}
		return ordered
	case []any:
		ordered := slices.Clone(value)
		slices.SortFunc(ordered, func(a, b any) int { return strings.Compare(a.(string), b.(string)) })
		return ordered
	}
	return value
}

// The chart can't read nats/nats-server.conf, so it says the same once more: each user's rights, and the limits.
func TestTheServerIsThatOfTheRepository(t *testing.T) {
	text, err := os.ReadFile("../../nats/nats-server.conf")
	if err != nil {
		t.Fatal(err)
	}
	want := natsConfig(t, string(text))
	for _, variant := range []string{"minimal", "full"} {
		got := natsConfig(t, all[*corev1.ConfigMap](render(t, release, variant))["desk-nats-config"].Data["nats.conf"])
		wanted, has := users(t, want), users(t, got)
		if len(wanted) != 4 || !slices.Equal(slices.Sorted(maps.Keys(wanted)), slices.Sorted(maps.Keys(has))) {
			t.Fatalf("%s: the users are %v, not %v", variant, slices.Sorted(maps.Keys(has)), slices.Sorted(maps.Keys(wanted)))
		}
		for name, rights := range wanted {
			if !reflect.DeepEqual(has[name], rights) {
				t.Errorf("%s: %s may\n%v\nand in nats-server.conf\n%v", variant, name, has[name], rights)
			}
		}
		for key, value := range want {
			switch key {
			// Where it listens and what it may store is the cluster's; who may what stands above, and its parts are only named.
			case "listen", "jetstream", "authorization", "EDGE", "WORKER", "ANALYTICS", "ADMIN":
			default:
				if !reflect.DeepEqual(got[key], value) {
					t.Errorf("%s: %s is %v, and in nats-server.conf %v", variant, key, got[key], value)
				}
			}
		}
	}
}

// A real nats-server finds no fault with it.
func TestTheServerTakesItsConfiguration(t *testing.T) {
	server := natsServer(t)
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := all[*corev1.ConfigMap](render(t, release, "minimal"))["desk-nats-config"].Data["nats.conf"]
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command(server, "-t", "-c", file)
	for name, value := range natsEnvironment {
		command.Env = append(command.Env, name+"="+value)
	}
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func natsServer(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nats-server", "/usr/sbin/nats-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("not run: there is no nats-server")
	return ""
}
