// Command probe is what the tests' own pods run: it needs nothing of its image.
//
//	probe pause                waits for its end: the container that holds a pod's namespaces
//	probe listen PORT...       accepts connections on these ports, and answers HTTP with its host's name
//	probe reach HOST:PORT...   tries to connect to each, and says on a line: open, refused, timeout or unknown
package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	command := "pause"
	if len(os.Args) > 1 {
		command = os.Args[1]
	}
	switch command {
	case "pause":
	case "listen":
		listen(os.Args[2:])
	case "reach":
		reach(os.Args[2:])
		return
	default:
		fmt.Fprintf(os.Stderr, "probe: no such command: %s\n", command)
		os.Exit(64)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}

func listen(ports []string) {
	name, _ := os.Hostname()
	answer := http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(writer, name)
	})
	for _, port := range ports {
		socket, err := net.Listen("tcp", ":"+port)
		if err != nil {
			fmt.Fprintf(os.Stderr, "probe: %v\n", err)
			os.Exit(1)
		}
		go func() { _ = http.Serve(socket, answer) }()
	}
}

// reach tries all at once: what a policy drops takes the whole timeout.
func reach(targets []string) {
	outcomes := make([]chan string, len(targets))
	for index, target := range targets {
		outcomes[index] = make(chan string, 1)
		go func() { outcomes[index] <- outcome(target) }()
	}
	for index, target := range targets {
		fmt.Println(target, <-outcomes[index])
	}
}

func outcome(target string) string {
	connection, err := net.DialTimeout("tcp", target, 5*time.Second)
	var name *net.DNSError
	switch {
	case err == nil:
		_ = connection.Close()
		return "open"
	case errors.As(err, &name):
		return "unknown"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH):
		return "refused"
	default:
		return "timeout"
	}
}
