package helm

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A deployment as the chart says it, with real processes on the loopback in the place of pods: the server with its
// configuration, the setup, and each role with its environment and its files. All get ready, and the probes' paths answer.
func TestTheRolesStartWithWhatTheChartGivesThem(t *testing.T) {
	frontdesk := os.Getenv("FRONTDESK_BIN")
	if frontdesk == "" {
		t.Skip("not run: FRONTDESK_BIN names no executable")
	}
	server := natsServer(t)
	folder := t.TempDir()
	natsPort, edgePort, workerPort, analyticsPort := port(t), port(t), port(t), port(t)
	r := render(t, release, "minimal",
		"--set", fmt.Sprintf("nats.config.nats.port=%d,nats.config.monitor.enabled=false,nats.config.jetstream.fileStore.dir=%s", natsPort, folder),
		"--set", "edge.sites[0].id=lamps,edge.sites[0].allowed_origins[0]=https://lamps.example,edge.widgets.lamps.name=Lamps",
		"--set", "worker.sites[0].id=lamps,worker.sites[0].webhook_url=http://127.0.0.1:9/webhook/lamps,worker.sites[0].api_key=x",
		"--set", "settings.LOG_LEVEL=warn,secrets.METRICS_TOKEN=test-only,secrets.ADMIN_TOKEN=test-only-test-only-test-only-test-only-3")

	config := strings.ReplaceAll(all[*corev1.ConfigMap](r)["desk-nats-config"].Data["nats.conf"], "/var/run/nats/", folder+"/")
	config = strings.Replace(config, fmt.Sprintf(`"port": %d`, natsPort), fmt.Sprintf(`"listen": "127.0.0.1:%d"`, natsPort), 1)
	file := filepath.Join(folder, "nats.conf")
	write(t, file, config)
	var nats corev1.Container
	roles := map[string]corev1.Container{}
	for _, p := range r.pods() {
		if p.ours() {
			roles[p.role()] = p.Spec.Containers[0]
		} else {
			nats = p.Spec.Containers[0]
		}
	}

	// What differs from a pod: addresses, and folders.
	here := map[string]map[string]string{
		"nats-setup": {},
		"edge":       {"API_HOST": "127.0.0.1", "API_PORT": itoa(int32(edgePort)), "SITES_FILE": filepath.Join(folder, "sites.json"), "WIDGET_CONFIG_DIR": filepath.Join(folder, "widgets")},
		"worker":     {"WORKER_ADDR": fmt.Sprintf("127.0.0.1:%d", workerPort), "N8N_SITES_FILE": filepath.Join(folder, "n8n-sites.json")},
		"analytics":  {"ANALYTICS_ADDR": fmt.Sprintf("127.0.0.1:%d", analyticsPort), "ANALYTICS_DB_PATH": filepath.Join(folder, "analytics.redb")},
	}
	write(t, here["edge"]["SITES_FILE"], all[*corev1.ConfigMap](r)["desk-frontdesk-edge-sites"].Data["sites.json"])
	write(t, here["worker"]["N8N_SITES_FILE"], all[*corev1.Secret](r)["desk-frontdesk-worker-sites"].StringData["n8n-sites.json"])
	write(t, filepath.Join(folder, "widgets", "lamps.json"), all[*corev1.ConfigMap](r)["desk-frontdesk-edge-widgets"].Data["lamps.json"])
	for _, settings := range here {
		settings["NATS_URL"] = fmt.Sprintf("nats://127.0.0.1:%d", natsPort)
	}

	start(t, exec.Command(server, "-c", file), environment(r, nats, nil))
	setup := start(t, exec.Command(frontdesk, roles["nats-setup"].Args...), environment(r, roles["nats-setup"], here["nats-setup"]))
	if err := setup.wait(30 * time.Second); err != nil {
		t.Fatalf("nats-setup: %v\n%s", err, setup.said())
	}
	for role, port := range map[string]int{"edge": edgePort, "worker": workerPort, "analytics": analyticsPort} {
		process := start(t, exec.Command(frontdesk, roles[role].Args...), environment(r, roles[role], here[role]))
		for _, probe := range []*corev1.Probe{roles[role].LivenessProbe, roles[role].ReadinessProbe} {
			url := fmt.Sprintf("http://127.0.0.1:%d%s", port, probe.HTTPGet.Path)
			if err := answers(url, 30*time.Second); err != nil {
				t.Fatalf("%s: %v\n%s", role, err, process.said())
			}
		}
	}
}

// environment is a container's, with its secrets, and with what is otherwise here.
func environment(r rendered, container corev1.Container, here map[string]string) []string {
	settings := map[string]string{"SERVER_NAME": "n1"}
	for name, variable := range env(container) {
		if variable.ValueFrom == nil {
			settings[name] = variable.Value
		} else if ref := variable.ValueFrom.SecretKeyRef; ref != nil {
			if value, there := all[*corev1.Secret](r)[ref.Name].StringData[ref.Key]; there {
				settings[name] = value
			}
		}
	}
	delete(settings, "POD_NAME")
	if settings["SERVER_NAME"] == "$(POD_NAME)" {
		settings["SERVER_NAME"] = "n1"
	}
	maps.Copy(settings, here)
	var lines []string
	for name, value := range settings {
		lines = append(lines, name+"="+value)
	}
	return lines
}

type process struct {
	command *exec.Cmd
	out     *bytes.Buffer
	ended   chan error
}

// start ends what it started with the test.
func start(t *testing.T, command *exec.Cmd, environment []string) *process {
	t.Helper()
	it := &process{command, &bytes.Buffer{}, make(chan error, 1)}
	command.Env, command.Stdout, command.Stderr, command.Dir = environment, it.out, it.out, t.TempDir()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { it.ended <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Signal(syscall.SIGTERM)
		if err := it.wait(10 * time.Second); err != nil {
			_ = command.Process.Kill()
			<-it.ended
		}
	})
	return it
}

func (p *process) wait(limit time.Duration) error {
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(limit):
		return fmt.Errorf("it runs after %v", limit)
	}
}

// said is for a failure alone: the process may still write.
func (p *process) said() string {
	_ = p.command.Process.Kill()
	_ = p.wait(5 * time.Second)
	return p.out.String()
}

func answers(url string, limit time.Duration) (err error) {
	client := http.Client{Timeout: 2 * time.Second}
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var response *http.Response
		if response, err = client.Get(url); err != nil {
			continue
		}
		response.Body.Close()
		if response.StatusCode == http.StatusOK {
			return nil
		}
		err = fmt.Errorf("%s answers %d", url, response.StatusCode)
	}
	return err
}

func port(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
