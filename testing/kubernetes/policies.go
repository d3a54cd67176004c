package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/cloudnativelabs/kube-router/v2/pkg/controllers/netpol"
	"github.com/cloudnativelabs/kube-router/v2/pkg/healthcheck"
	"github.com/cloudnativelabs/kube-router/v2/pkg/options"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// policies enforces NetworkPolicies by iptables: kube-router's firewall and nothing else of it. Arguments: a kubeconfig,
// the node's name, and the range of the Services' addresses.
func policies(arguments []string) error {
	if len(arguments) != 3 {
		return fmt.Errorf("wants a kubeconfig, a node and a range of addresses")
	}
	client, err := clientOf(arguments[0])
	if err != nil {
		return err
	}
	config := options.NewKubeRouterConfig()
	config.EnableIPv4 = true
	config.HostnameOverride = arguments[1]
	config.ClusterIPCIDRs = []string{arguments[2]}
	// Everything is written again now and then; what changes is written at once.
	config.IPTablesSyncPeriod = time.Minute

	factory := informers.NewSharedInformerFactory(client, 0)
	pods := factory.Core().V1().Pods().Informer()
	namespaces := factory.Core().V1().Namespaces().Informer()
	networkPolicies := factory.Networking().V1().NetworkPolicies().Informer()
	forEver := context.Background().Done()
	factory.Start(forEver)
	if !cache.WaitForCacheSync(forEver, pods.HasSynced, namespaces.HasSynced, networkPolicies.HasSynced) {
		return fmt.Errorf("pods, namespaces and policies can't be listed")
	}
	tables, sets, err := netpol.NewIPTablesHandlers(config)
	if err != nil {
		return err
	}
	controller, err := netpol.NewNetworkPolicyController(
		client, config, pods, networkPolicies, namespaces, &sync.Mutex{}, tables, sets)
	if err != nil {
		return err
	}
	for informer, handler := range map[cache.SharedIndexInformer]cache.ResourceEventHandler{
		pods: controller.PodEventHandler, namespaces: controller.NamespaceEventHandler,
		networkPolicies: controller.NetworkPolicyEventHandler,
	} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	// Somebody has to take its signs of life, or it waits for ever.
	alive := make(chan *healthcheck.ControllerHeartbeat)
	go func() {
		for range alive {
		}
	}()
	var running sync.WaitGroup
	running.Add(1)
	go controller.Run(alive, forEver, &running)
	running.Wait()
	return nil
}
