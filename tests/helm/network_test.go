package helm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

func itoa(number int32) string { return strconv.Itoa(int(number)) }

// peer says who a rule means, in a word: a role of this release, a namespace, an address, or "anybody".
func peer(t *testing.T, r rendered, it networkingv1.NetworkPolicyPeer) string {
	t.Helper()
	switch {
	case it.IPBlock != nil && len(it.IPBlock.Except) > 0:
		return it.IPBlock.CIDR + " but " + strings.Join(it.IPBlock.Except, ",")
	case it.IPBlock != nil:
		return it.IPBlock.CIDR
	case it.NamespaceSelector != nil:
		return "namespace " + it.NamespaceSelector.MatchLabels["kubernetes.io/metadata.name"]
	}
	if roles := selected(t, r, it.PodSelector); len(roles) > 0 {
		return strings.Join(roles, "+")
	}
	return fmt.Sprintf("pods %v", it.PodSelector.MatchLabels)
}

// flows are all that the policies let through, sorted: "edge -> nats:4222/TCP", seen from the side that allows it.
func flows(t *testing.T, r rendered) []string {
	t.Helper()
	var flows []string
	add := func(line func(peer, port string) string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
		who := []string{"anybody"}
		if len(peers) > 0 {
			who = nil
		}
		for _, it := range peers {
			who = append(who, peer(t, r, it))
		}
		if len(ports) == 0 {
			flows = append(flows, line(who[0], "any"))
		}
		for _, port := range ports {
			for _, who := range who {
				flows = append(flows, line(who, port.Port.String()+"/"+string(*port.Protocol)))
			}
		}
	}
	for name, it := range all[*networkingv1.NetworkPolicy](r) {
		roles := selected(t, r, &it.Spec.PodSelector)
		if strings.HasSuffix(name, "-default-deny") {
			continue
		}
		if len(roles) != 1 {
			t.Fatalf("%s is for %v", name, roles)
		}
		if len(it.Spec.PolicyTypes) != 2 {
			t.Errorf("%s leaves a direction open", name)
		}
		for _, rule := range it.Spec.Ingress {
			add(func(peer, port string) string { return "in  " + peer + " -> " + roles[0] + ":" + port }, rule.From, rule.Ports)
		}
		for _, rule := range it.Spec.Egress {
			add(func(peer, port string) string { return "out " + roles[0] + " -> " + peer + ":" + port }, rule.To, rule.Ports)
		}
	}
	slices.Sort(flows)
	return slices.Compact(flows)
}

const (
	out4 = "0.0.0.0/0 but 169.254.0.0/16"
	out6 = "::/0 but fe80::/10,fd00:ec2::254/128"
)

// dns is what every role needs to find anybody.
func dns(roles ...string) (lines []string) {
	for _, role := range roles {
		lines = append(lines, "out "+role+" -> namespace kube-system:53/UDP", "out "+role+" -> namespace kube-system:53/TCP")
	}
	return lines
}

// Exactly these: a flow more is a hole, a flow less breaks something.
func TestPoliciesAllowWhatIsNeededAndNothingElse(t *testing.T) {
	want := map[string][]string{
		"minimal": append(dns("edge", "worker", "analytics", "nats-setup"),
			"in  anybody -> edge:8000/TCP",
			"in  edge -> nats:4222/TCP", "in  worker -> nats:4222/TCP", "in  analytics -> nats:4222/TCP", "in  nats-setup -> nats:4222/TCP",
			"out edge -> nats:4222/TCP", "out worker -> nats:4222/TCP", "out analytics -> nats:4222/TCP", "out nats-setup -> nats:4222/TCP",
			"out worker -> "+out4+":5678/TCP", "out worker -> "+out6+":5678/TCP",
		),
		"full": append(dns("edge", "worker", "analytics", "nats-setup", "nats"),
			"in  namespace ingress-nginx -> edge:8000/TCP",
			"in  namespace monitoring -> edge:8000/TCP", "in  namespace monitoring -> worker:8001/TCP", "in  namespace monitoring -> analytics:8002/TCP",
			"in  pods map[app:support-tools] -> analytics:8002/TCP",
			"in  edge -> nats:4222/TCP", "in  worker -> nats:4222/TCP", "in  analytics -> nats:4222/TCP", "in  nats-setup -> nats:4222/TCP",
			"out edge -> nats:4222/TCP", "out worker -> nats:4222/TCP", "out analytics -> nats:4222/TCP", "out nats-setup -> nats:4222/TCP",
			// Its three servers among themselves, and their figures.
			"in  nats -> nats:6222/TCP", "out nats -> nats:6222/TCP", "in  namespace monitoring -> nats:7777/TCP",
			// n8n, at the ports that the settings and the sites name.
			"out worker -> 192.0.2.0/24:443/TCP", "out worker -> 192.0.2.0/24:5678/TCP",
			"out worker -> namespace lamps:443/TCP", "out worker -> namespace lamps:5678/TCP",
			// The shop's keys and the captcha's provider, and a collector of traces.
			"out edge -> "+out4+":8443/TCP", "out edge -> "+out6+":8443/TCP", "out edge -> "+out4+":443/TCP", "out edge -> "+out6+":443/TCP",
			"out edge -> namespace tracing:4318/TCP",
		),
		"external-nats": append(dns("edge", "worker", "analytics", "nats-setup"),
			"in  anybody -> edge:8000/TCP",
			"out edge -> 198.51.100.0/24:4222/TCP", "out worker -> 198.51.100.0/24:4222/TCP", "out analytics -> 198.51.100.0/24:4222/TCP", "out nats-setup -> 198.51.100.0/24:4222/TCP",
			"out edge -> 198.51.100.0/24:4333/TCP", "out worker -> 198.51.100.0/24:4333/TCP", "out analytics -> 198.51.100.0/24:4333/TCP", "out nats-setup -> 198.51.100.0/24:4333/TCP",
			"out worker -> "+out4+":443/TCP", "out worker -> "+out6+":443/TCP",
		),
		"no-analytics": nil,
	}
	each(t, func(t *testing.T, variant string, r rendered) {
		want := slices.Clone(want[variant])
		slices.Sort(want)
		got := flows(t, r)
		for _, flow := range got {
			if !slices.Contains(want, flow) {
				t.Errorf("too much: %s", flow)
			}
		}
		for _, flow := range want {
			if !slices.Contains(got, flow) {
				t.Errorf("missing: %s", flow)
			}
		}
	})
}

// A setting that stands for all roles opens the same as one of the role.
func TestPoliciesSeeTheSettingsOfEveryRole(t *testing.T) {
	r := render(t, release, "minimal", "--set", "settings.IDENTITY_JWKS=https://shop.example:9443/jwks.json,settings.N8N_API_URL=https://n8n.example/api/v1")
	for _, flow := range []string{"out edge -> " + out4 + ":9443/TCP", "out worker -> " + out4 + ":443/TCP", "out worker -> " + out4 + ":5678/TCP"} {
		if !slices.Contains(flows(t, r), flow) {
			t.Errorf("missing: %s", flow)
		}
	}
}

// Pods that no policy of their own selects are closed, too: all pods of the release, in both directions.
func TestNothingIsOpenThatNoPolicyOpens(t *testing.T) {
	each(t, func(t *testing.T, variant string, r rendered) {
		if variant == "no-analytics" {
			return
		}
		deny := all[*networkingv1.NetworkPolicy](r)[prefix(r)+"-default-deny"]
		if got := selected(t, r, &deny.Spec.PodSelector); len(got) != len(r.pods()) {
			t.Errorf("it closes only %v", got)
		}
		if len(deny.Spec.Ingress)+len(deny.Spec.Egress) != 0 || len(deny.Spec.PolicyTypes) != 2 {
			t.Errorf("it is open: %v", deny.Spec)
		}
	})
}

// prefix is what the names of a release begin with.
func prefix(r rendered) string {
	for name := range all[*appsv1.Deployment](r) {
		if it, edge := strings.CutSuffix(name, "-edge"); edge {
			return it
		}
	}
	return ""
}

// What the policies let through is what the roles are told: the address of NATS, with the port that its Service has.
func TestRolesFindTheNatsOfTheChart(t *testing.T) {
	for variant, scheme := range map[string]string{"minimal": "nats", "full": "tls"} {
		r := render(t, release, variant)
		service := all[*corev1.Service](r)["desk-nats"]
		for _, p := range r.pods() {
			want := scheme + "://" + service.Name + ":" + itoa(service.Spec.Ports[0].Port)
			if got := env(p.Spec.Containers[0])["NATS_URL"].Value; p.ours() && got != want {
				t.Errorf("%s: %s looks for NATS at %s, not %s", variant, p.owner, got, want)
			}
		}
	}
}
