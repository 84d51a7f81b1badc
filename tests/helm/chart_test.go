// Package helm renders the chart as its users do, with `helm template`, and looks at what comes out.
//
// HELM names the executable; scripts/test-helm.sh builds the one that go.mod pins.
package helm

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

const (
	chart   = "../../deploy/helm/frontdesk"
	release = "desk"
)

// The oldest Kubernetes that Chart.yaml allows, and a newer one.
var versions = []string{"1.30.0", "1.36.0"}

// variants are the files of values that the chart brings for this.
func variants(t *testing.T) []string {
	files, err := filepath.Glob(chart + "/ci/*.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d files of values: %v", len(files), err)
	}
	var names []string
	for _, file := range files {
		names = append(names, strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return names
}

// said is what helm said to the same arguments before: the chart doesn't change meanwhile.
var said sync.Map

type answer struct {
	text string
	err  error
}

func helm(t *testing.T, arguments ...string) (string, error) {
	t.Helper()
	key := strings.Join(arguments, "\n")
	if before, ok := said.Load(key); ok {
		return before.(answer).text, before.(answer).err
	}
	text, err := run(arguments)
	said.Store(key, answer{text, err})
	return text, err
}

func run(arguments []string) (string, error) {
	binary := os.Getenv("HELM")
	if binary == "" {
		binary = "helm"
	}
	command := exec.Command(binary, arguments...)
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	if failed := command.Run(); failed != nil {
		return out.String(), fmt.Errorf("%w: %s", failed, err.String())
	}
	return out.String(), nil
}

func template(name, variant string, more ...string) []string {
	arguments := []string{"template", name, chart, "--namespace", "shop", "--kube-version", versions[0]}
	if variant != "" {
		arguments = append(arguments, "--values", filepath.Join(chart, "ci", variant+".yaml"))
	}
	return append(arguments, more...)
}

// serviceMonitor is what the chart may say in one: a field that is not here is a mistake.
type serviceMonitor struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		JobLabel  string               `json:"jobLabel"`
		Selector  metav1.LabelSelector `json:"selector"`
		Endpoints []struct {
			Port          string `json:"port"`
			Path          string `json:"path"`
			Interval      string `json:"interval"`
			Scheme        string `json:"scheme"`
			Authorization *struct {
				Type        string                   `json:"type"`
				Credentials corev1.SecretKeySelector `json:"credentials"`
			} `json:"authorization"`
		} `json:"endpoints"`
	} `json:"spec"`
}

// known are the forms of all that the chart may make.
func known() map[string]metav1.Object {
	return map[string]metav1.Object{
		"apps/v1 Deployment":                      &appsv1.Deployment{},
		"apps/v1 StatefulSet":                     &appsv1.StatefulSet{},
		"autoscaling/v2 HorizontalPodAutoscaler":  &autoscalingv2.HorizontalPodAutoscaler{},
		"batch/v1 Job":                            &batchv1.Job{},
		"monitoring.coreos.com/v1 ServiceMonitor": &serviceMonitor{},
		"networking.k8s.io/v1 Ingress":            &networkingv1.Ingress{},
		"networking.k8s.io/v1 NetworkPolicy":      &networkingv1.NetworkPolicy{},
		"policy/v1 PodDisruptionBudget":           &policyv1.PodDisruptionBudget{},
		"v1 ConfigMap":                            &corev1.ConfigMap{},
		"v1 Secret":                               &corev1.Secret{},
		"v1 Service":                              &corev1.Service{},
		"v1 ServiceAccount":                       &corev1.ServiceAccount{},
	}
}

// rendered is a release, each object in the type that Kubernetes has for it.
type rendered struct {
	objects []metav1.Object
}

// all gives the objects of a type, by name.
func all[T metav1.Object](r rendered) map[string]T {
	found := map[string]T{}
	for _, object := range r.objects {
		if object, ok := object.(T); ok {
			found[object.GetName()] = object
		}
	}
	return found
}

// render is strict: a field that Kubernetes doesn't know, a field said twice and a wrong type fail.
func render(t *testing.T, name, variant string, more ...string) rendered {
	t.Helper()
	text, err := helm(t, template(name, variant, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	var r rendered
	for _, document := range strings.Split("\n"+text, "\n---\n") {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(document), &kind); err != nil {
			t.Fatalf("%v in\n%s", err, document)
		}
		if kind.Kind == "" {
			if content := strings.TrimSpace(document); content != "" && !strings.HasPrefix(content, "#") {
				t.Fatalf("not an object:\n%s", document)
			}
			continue
		}
		object, ok := known()[kind.APIVersion+" "+kind.Kind]
		if !ok {
			t.Fatalf("unknown form %s %s", kind.APIVersion, kind.Kind)
		}
		if err := yaml.UnmarshalStrict([]byte(document), object); err != nil {
			t.Fatalf("%s: %v in\n%s", kind.Kind, err, document)
		}
		r.objects = append(r.objects, object)
	}
	return r
}

// pod is what runs of an object.
type pod struct {
	owner string
	corev1.PodTemplateSpec
}

func (r rendered) pods() []pod {
	var pods []pod
	for _, object := range r.objects {
		switch object := object.(type) {
		case *appsv1.Deployment:
			pods = append(pods, pod{object.Name, object.Spec.Template})
		case *appsv1.StatefulSet:
			pods = append(pods, pod{object.Name, object.Spec.Template})
		case *batchv1.Job:
			pods = append(pods, pod{object.Name, object.Spec.Template})
		}
	}
	return pods
}

// role is edge, worker, analytics, nats-setup or nats.
func (p pod) role() string { return p.Labels["app.kubernetes.io/component"] }

// ours says whether it runs Frontdesk.
func (p pod) ours() bool { return p.role() != "nats" }

// each runs a test on every variant.
func each(t *testing.T, test func(*testing.T, string, rendered)) {
	for _, variant := range variants(t) {
		t.Run(variant, func(t *testing.T) { test(t, variant, render(t, release, variant)) })
	}
}

func TestHelmLintHasNothingToSay(t *testing.T) {
	for _, variant := range variants(t) {
		for _, version := range versions {
			out, err := helm(t, "lint", chart, "--strict", "--kube-version", version, "--values", filepath.Join(chart, "ci", variant+".yaml"))
			if err != nil {
				t.Errorf("%s, Kubernetes %s: %v\n%s", variant, version, err, out)
			}
		}
	}
}

func TestEveryKubernetesGetsTheSame(t *testing.T) {
	for _, variant := range variants(t) {
		first := render(t, release, variant)
		other := render(t, release, variant, "--kube-version", versions[1])
		if !reflect.DeepEqual(first, other) {
			t.Errorf("%s differs", variant)
		}
	}
}

// What a variant is there for is there.
func TestEachVariantMakesItsObjects(t *testing.T) {
	want := map[string]map[string]int{
		"minimal":       {"Deployment": 2, "StatefulSet": 2, "Job": 1, "HorizontalPodAutoscaler": 2, "PodDisruptionBudget": 3, "NetworkPolicy": 6, "Secret": 1},
		"full":          {"Deployment": 2, "StatefulSet": 2, "Job": 1, "HorizontalPodAutoscaler": 2, "PodDisruptionBudget": 3, "NetworkPolicy": 6, "Secret": 1, "Ingress": 1, "serviceMonitor": 3},
		"external-nats": {"Deployment": 2, "StatefulSet": 1, "Job": 1, "PodDisruptionBudget": 2, "NetworkPolicy": 5, "Secret": 1, "serviceMonitor": 3},
		"no-analytics":  {"Deployment": 2, "HorizontalPodAutoscaler": 2, "Secret": 1},
	}
	each(t, func(t *testing.T, variant string, r rendered) {
		got := map[string]int{}
		for _, object := range r.objects {
			kind := reflect.TypeOf(object).Elem().Name()
			switch kind {
			case "ConfigMap", "Service", "ServiceAccount":
			default:
				got[kind]++
			}
		}
		if !reflect.DeepEqual(got, want[variant]) {
			t.Errorf("got %v, want %v", got, want[variant])
		}
	})
}

// long is the longest name of a release that the chart takes.
var long = strings.Repeat("long-", 7) + "named"

// Kubernetes refuses a name that is too long or a label that isn't one.
func TestNamesAndLabelsAreGood(t *testing.T) {
	for _, name := range []string{release, "frontdesk", long} {
		for _, variant := range variants(t) {
			seen := map[string]bool{}
			for _, object := range render(t, name, variant).objects {
				kind := reflect.TypeOf(object).Elem().Name()
				check := validation.IsDNS1123Subdomain
				if kind == "Service" {
					check = validation.IsDNS1035Label
				} else if kind == "Job" || kind == "StatefulSet" || kind == "Deployment" {
					check = validation.IsDNS1123Label
				}
				for _, wrong := range check(object.GetName()) {
					t.Errorf("%s %s: %s", kind, object.GetName(), wrong)
				}
				if seen[kind+object.GetName()] {
					t.Errorf("%s %s is there twice", kind, object.GetName())
				}
				seen[kind+object.GetName()] = true
				for key, value := range object.GetLabels() {
					for _, wrong := range append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...) {
						t.Errorf("%s %s, label %s=%s: %s", kind, object.GetName(), key, value, wrong)
					}
				}
			}
		}
	}
}

// A StatefulSet's pod has a label of its name and a hash of ten characters.
func TestPodsOfStatefulSetsCanBeNamed(t *testing.T) {
	for name := range all[*appsv1.StatefulSet](render(t, long, "minimal")) {
		if wrong := validation.IsValidLabelValue(name + "-0123456789"); wrong != nil {
			t.Errorf("%s: %v", name, wrong)
		}
	}
}
