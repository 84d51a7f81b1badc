package helm

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func matches(t *testing.T, selector *metav1.LabelSelector, of map[string]string) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return s.Matches(labels.Set(of))
}

// selected are the roles of the pods that a selector means.
func selected(t *testing.T, r rendered, selector *metav1.LabelSelector) []string {
	t.Helper()
	var roles []string
	for _, p := range r.pods() {
		if matches(t, selector, p.Labels) {
			roles = append(roles, p.role())
		}
	}
	slices.Sort(roles)
	return roles
}

// exactly says whether a selector means the pods of one role and no other.
func exactly(t *testing.T, r rendered, what string, selector *metav1.LabelSelector, role string) {
	t.Helper()
	if got := selected(t, r, selector); !slices.Equal(got, []string{role}) {
		t.Errorf("%s selects %v, not %s", what, got, role)
	}
}

func TestSelectorsMeanTheirOwnPods(t *testing.T) {
	each(t, func(t *testing.T, _ string, r rendered) {
		for name, it := range all[*appsv1.Deployment](r) {
			exactly(t, r, name, it.Spec.Selector, it.Labels["app.kubernetes.io/component"])
			for _, spread := range it.Spec.Template.Spec.TopologySpreadConstraints {
				exactly(t, r, name+"'s spread", spread.LabelSelector, it.Labels["app.kubernetes.io/component"])
			}
		}
		for name, it := range all[*appsv1.StatefulSet](r) {
			exactly(t, r, name, it.Spec.Selector, it.Labels["app.kubernetes.io/component"])
			if _, there := all[*corev1.Service](r)[it.Spec.ServiceName]; !there {
				t.Errorf("%s has no Service %s", name, it.Spec.ServiceName)
			}
		}
		for name, it := range all[*policyv1.PodDisruptionBudget](r) {
			exactly(t, r, "the budget "+name, it.Spec.Selector, it.Labels["app.kubernetes.io/component"])
		}
		for name, it := range all[*corev1.Service](r) {
			exactly(t, r, "the Service "+name, &metav1.LabelSelector{MatchLabels: it.Spec.Selector}, it.Labels["app.kubernetes.io/component"])
		}
		for name, it := range all[*serviceMonitor](r) {
			var found []string
			for _, service := range all[*corev1.Service](r) {
				if !matches(t, &it.Spec.Selector, service.Labels) {
					continue
				}
				found = append(found, service.Name)
				named := func(port corev1.ServicePort) bool { return port.Name == it.Spec.Endpoints[0].Port }
				if !slices.ContainsFunc(service.Spec.Ports, named) {
					t.Errorf("%s has no port %s", service.Name, it.Spec.Endpoints[0].Port)
				}
			}
			if len(found) != 1 {
				t.Errorf("the monitor %s selects %v", name, found)
			}
		}
	})
}

func TestScalersHaveADeploymentThatLeavesThemTheNumber(t *testing.T) {
	each(t, func(t *testing.T, _ string, r rendered) {
		deployments := all[*appsv1.Deployment](r)
		scaled := map[string]bool{}
		for name, it := range all[*autoscalingv2.HorizontalPodAutoscaler](r) {
			target := it.Spec.ScaleTargetRef
			deployment, there := deployments[target.Name]
			if target.Kind != "Deployment" || target.APIVersion != "apps/v1" || !there {
				t.Fatalf("%s scales %v", name, target)
			}
			scaled[target.Name] = true
			if deployment.Spec.Replicas != nil {
				t.Errorf("%s would be set back to %d at each upgrade", target.Name, *deployment.Spec.Replicas)
			}
			if *it.Spec.MinReplicas < 2 {
				t.Errorf("%s: one process alone can't be replaced unnoticed", name)
			}
			// A share of the CPU is a share of what the containers ask for.
			if deployment.Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s asks for no CPU", target.Name)
			}
		}
		for name, it := range deployments {
			if !scaled[name] && (it.Spec.Replicas == nil || *it.Spec.Replicas < 2) {
				t.Errorf("%s has neither a scaler nor two replicas", name)
			}
		}
	})
}

func TestAnalyticsIsOneProcessWithAClaim(t *testing.T) {
	r := render(t, release, "minimal")
	it := all[*appsv1.StatefulSet](r)["desk-frontdesk-analytics"]
	if *it.Spec.Replicas != 1 {
		t.Errorf("%d replicas", *it.Spec.Replicas)
	}
	container := it.Spec.Template.Spec.Containers[0]
	path := env(container)["ANALYTICS_DB_PATH"].Value
	mounted := slices.ContainsFunc(container.VolumeMounts, func(mount corev1.VolumeMount) bool {
		return strings.HasPrefix(path, mount.MountPath+"/") && mount.Name == it.Spec.VolumeClaimTemplates[0].Name
	})
	if !mounted {
		t.Errorf("%s is on no claim", path)
	}
}

func TestIngressLeadsToTheEdges(t *testing.T) {
	r := render(t, release, "full")
	backend := all[*networkingv1.Ingress](r)["desk-frontdesk-edge"].Spec.Rules[0].HTTP.Paths[0].Backend.Service
	service, there := all[*corev1.Service](r)[backend.Name]
	if !there || service.Spec.Ports[0].Name != backend.Port.Name {
		t.Fatalf("no Service %v", backend)
	}
	edge := all[*appsv1.Deployment](r)["desk-frontdesk-edge"].Spec.Template.Spec.Containers[0]
	if url := env(edge)["PUBLIC_URL"].Value; url != "https://chat.shop.example" {
		t.Errorf("PUBLIC_URL is %q", url)
	}
}

// Names of what the variants say is there already.
var brought = []string{"shop-frontdesk", "nats-ca", "nats-server-tls", "chat-tls", "n8n-sites", "widgets", "analytics-data"}

func TestWhatAPodRefersToIsThere(t *testing.T) {
	each(t, func(t *testing.T, _ string, r rendered) {
		secrets, configs := slices.Collect(maps.Keys(all[*corev1.Secret](r))), slices.Collect(maps.Keys(all[*corev1.ConfigMap](r)))
		there := func(p pod, kind, name string, made []string) {
			if !slices.Contains(made, name) && !slices.Contains(brought, name) {
				t.Errorf("%s needs the %s %s", p.owner, kind, name)
			}
		}
		for _, p := range r.pods() {
			volumes := map[string]bool{}
			for _, volume := range p.Spec.Volumes {
				volumes[volume.Name] = true
				if volume.Secret != nil {
					there(p, "Secret", volume.Secret.SecretName, secrets)
				}
				if volume.ConfigMap != nil {
					there(p, "ConfigMap", volume.ConfigMap.Name, configs)
				}
			}
			for _, it := range all[*appsv1.StatefulSet](r) {
				if it.Name == p.owner {
					for _, claim := range it.Spec.VolumeClaimTemplates {
						volumes[claim.Name] = true
					}
				}
			}
			for _, container := range p.Spec.Containers {
				for _, mount := range container.VolumeMounts {
					if !volumes[mount.Name] {
						t.Errorf("%s mounts %s, which is no volume", p.owner, mount.Name)
					}
				}
				for _, variable := range container.Env {
					if variable.ValueFrom == nil || variable.ValueFrom.SecretKeyRef == nil {
						continue
					}
					ref := variable.ValueFrom.SecretKeyRef
					there(p, "Secret", ref.Name, secrets)
					made, ours := all[*corev1.Secret](r)[ref.Name]
					optional := ref.Optional != nil && *ref.Optional
					if ours && !optional && made.StringData[ref.Key] == "" {
						t.Errorf("%s needs %s of the Secret, which lacks it", p.owner, ref.Key)
					}
				}
			}
			if p.ours() {
				there(p, "ServiceAccount", p.Spec.ServiceAccountName, slices.Collect(maps.Keys(all[*corev1.ServiceAccount](r))))
			}
		}
	})
}

// Every file and folder that a role is told of is mounted, and a file of the chart's own is in there.
func TestWhatARoleReadsIsMounted(t *testing.T) {
	found := 0
	each(t, func(t *testing.T, _ string, r rendered) {
		for _, p := range r.pods() {
			for name, variable := range env(p.Spec.Containers[0]) {
				if !p.ours() || !strings.HasPrefix(variable.Value, "/") {
					continue
				}
				found++
				mounts := slices.DeleteFunc(slices.Clone(p.Spec.Containers[0].VolumeMounts), func(mount corev1.VolumeMount) bool {
					return variable.Value != mount.MountPath && !strings.HasPrefix(variable.Value, mount.MountPath+"/")
				})
				if len(mounts) != 1 {
					t.Errorf("%s: %s is %s, on %d mounts", p.owner, name, variable.Value, len(mounts))
					continue
				}
				file := strings.TrimPrefix(strings.TrimPrefix(variable.Value, mounts[0].MountPath), "/")
				for _, volume := range p.Spec.Volumes {
					if volume.Name != mounts[0].Name || file == "" {
						continue
					}
					if it, made := all[*corev1.ConfigMap](r)[source(volume)]; made && it.Data[file] == "" {
						t.Errorf("%s: %s is not in %s", p.owner, variable.Value, it.Name)
					}
					if it, made := all[*corev1.Secret](r)[source(volume)]; made && it.StringData[file] == "" {
						t.Errorf("%s: %s is not in %s", p.owner, variable.Value, it.Name)
					}
				}
			}
		}
	})
	if found < 10 {
		t.Errorf("only %d files were looked for", found)
	}
}

// source is the object that a volume shows.
func source(volume corev1.Volume) string {
	switch {
	case volume.ConfigMap != nil:
		return volume.ConfigMap.Name
	case volume.Secret != nil:
		return volume.Secret.SecretName
	}
	return ""
}

// What a file says is what the values said, and a changed file starts the pods anew.
func TestFilesCarryTheirValuesAndRollThePods(t *testing.T) {
	checksum := func(r rendered, deployment, name string) string {
		return all[*appsv1.Deployment](r)[deployment].Spec.Template.Annotations["checksum/"+name]
	}
	r := render(t, release, "full")
	changed := render(t, release, "full", "--set", "edge.sites[0].messages_per_minute=20",
		"--set", "edge.widgets.lamps.name=Other", "--set", "worker.sites[0].concurrency=17")

	for text, want := range map[string]string{
		all[*corev1.ConfigMap](r)["desk-frontdesk-edge-sites"].Data["sites.json"]:          `[{"allowed_origins":["https://lamps.example","https://*.lamps.example"],"id":"lamps","messages_per_minute":10}]`,
		all[*corev1.ConfigMap](r)["desk-frontdesk-edge-widgets"].Data["lamps.json"]:        `{"name":"Lamps"}`,
		all[*corev1.Secret](r)["desk-frontdesk-worker-sites"].StringData["n8n-sites.json"]: `[{"api_key":"only-in-the-secret","concurrency":16,"id":"lamps","webhook_url":"http://n8n.lamps.svc:5678/webhook/support"}]`,
	} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatalf("%v in %q", err, text)
		}
		if got, _ := json.Marshal(value); string(got) != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	for _, name := range []string{"sites", "widgets"} {
		if checksum(r, "desk-frontdesk-edge", name) == checksum(changed, "desk-frontdesk-edge", name) {
			t.Errorf("edges would keep the old %s", name)
		}
	}
	if checksum(r, "desk-frontdesk-worker", "secrets") == checksum(changed, "desk-frontdesk-worker", "secrets") {
		t.Error("workers would keep the old sites")
	}
}

func TestSecretsRollThePods(t *testing.T) {
	r := render(t, release, "minimal")
	rotated := render(t, release, "minimal", "--set", "secrets.JWT_SECRET_KEY=another-test-only-another-test-only-1")
	for i, p := range r.pods() {
		other := rotated.pods()[i]
		if _, job := all[*batchv1.Job](r)[p.owner]; p.ours() && !job && p.Annotations["checksum/secrets"] == other.Annotations["checksum/secrets"] {
			t.Errorf("%s would keep the old secret", p.owner)
		}
	}
}

// A Job can't be changed: the same work is the same Job, other work another one.
func TestTheSetupIsANewJobOnlyForNewWork(t *testing.T) {
	name := func(more ...string) string {
		for name := range all[*batchv1.Job](render(t, release, "minimal", more...)) {
			return name
		}
		t.Fatal("no Job")
		return ""
	}
	first := name()
	if name() != first || name("--set", "edge.drainSeconds=21") != first {
		t.Error("the same work is another Job")
	}
	for _, change := range []string{"image.tag=0.2.0", "natsSetup.settings.NATS_REPLICAS=3", "settings.QUEUE_TIMEOUT=40s"} {
		if name("--set", change) == first {
			t.Errorf("%s would change a Job that is there", change)
		}
	}
}
