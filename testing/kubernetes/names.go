package main

import (
	"context"
	"fmt"
	"net"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
	core "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// zone is the domain of all Services.
const zone = ".svc.cluster.local."

// names answers for the names of Services, and says of all others that they are not there: nothing in the cluster
// reaches anything outside. Arguments: a kubeconfig and the address to listen on.
func names(arguments []string) error {
	if len(arguments) != 2 {
		return fmt.Errorf("wants a kubeconfig and an address")
	}
	client, err := clientOf(arguments[0])
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services().Informer()
	ctx := context.Background()
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), services.HasSynced) {
		return fmt.Errorf("the Services can't be listed")
	}
	socket, err := net.ListenPacket("udp", arguments[1])
	if err != nil {
		return err
	}
	buffer := make([]byte, 4096)
	for {
		length, from, err := socket.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if answer, err := answerTo(buffer[:length], services.GetStore()); err == nil {
			_, _ = socket.WriteTo(answer, from)
		}
	}
}

func clientOf(kubeconfig string) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(config)
}

// answerTo is one answer: an A record, nothing of the wanted type, or no such name.
func answerTo(query []byte, services cache.Store) ([]byte, error) {
	var asked dnsmessage.Message
	if err := asked.Unpack(query); err != nil || len(asked.Questions) != 1 {
		return nil, fmt.Errorf("not a question")
	}
	question := asked.Questions[0]
	answer := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: asked.ID, Response: true, Authoritative: true, RecursionDesired: asked.RecursionDesired, RecursionAvailable: true},
		Questions: asked.Questions,
	}
	address := addressOf(strings.ToLower(question.Name.String()), services)
	switch {
	case address == nil:
		answer.RCode = dnsmessage.RCodeNameError
	case question.Type == dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{
			// Short, so that a Service that was made anew is found.
			Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET, TTL: 1},
			Body:   &dnsmessage.AResource{A: [4]byte(address)},
		}}
	}
	return answer.Pack()
}

// addressOf is the address of a Service by its full name, nil where there is none.
func addressOf(name string, services cache.Store) net.IP {
	service, isOurs := strings.CutSuffix(name, zone)
	parts := strings.Split(service, ".")
	if !isOurs || len(parts) != 2 {
		return nil
	}
	found, exists, err := services.GetByKey(parts[1] + "/" + parts[0])
	if err != nil || !exists {
		return nil
	}
	return net.ParseIP(found.(*core.Service).Spec.ClusterIP).To4()
}
