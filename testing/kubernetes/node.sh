#!/usr/bin/env bash
# One node of Kubernetes, in namespaces of its own: crates/testkit/src/cluster starts it as
#
#   unshare --fork --pid --kill-child --mount --mount-proc --net --uts --ipc --propagation private bash node.sh
#
# It is the first process there: when it ends, everything ends. Nothing of the machine is changed: what is written below
# /etc, /run, /var/lib and /var/log is memory of this namespace, the network is one of its own, and /proc/sys can be read
# only (a kubelet would set vm.overcommit_memory and kernel.panic, which are the whole machine's).
#
#   DIRECTORY   for settings, keys and logs; `ready` appears in it at the end
#   PROGRAMS    has `kubernetes` and `probe`
#   TOOLS       has what Debian's packages have: containerd, runc, CNI plugins, iptables, nft, ipset, conntrack, ip
#   CGROUP      the name of the cgroup below which all pods are; whoever starts this makes it and takes it away
#   POLICIES    1: NetworkPolicies are enforced
set -euo pipefail

: "$DIRECTORY" "$PROGRAMS" "$TOOLS" "$CGROUP" "${POLICIES:=1}"
libraries=$(echo "$TOOLS"/usr/lib/*-linux-gnu)
export PATH="$PROGRAMS:$TOOLS/usr/sbin:$TOOLS/usr/bin:$TOOLS/bin:$TOOLS/usr/lib/cni:$PATH"
export LD_LIBRARY_PATH="$libraries" XTABLES_LIBDIR="$libraries/xtables"
# For the Go programs: many small ones on a small machine.
export GOGC=100

node=10.99.0.1
services=10.96.0.0/16
pods=10.244.0.0/24
dns=10.96.0.10
data="$DIRECTORY/data"
keys="$DIRECTORY/keys"
logs="$DIRECTORY/logs"

# Memory in place of the machine's directories.
file_systems() {
  mount --make-rshared /
  mkdir -p "$data" "$keys" "$logs"
  mount -t tmpfs tmpfs "$data"
  mount -t tmpfs tmpfs /run
  mount -t tmpfs tmpfs /var/log
  local place
  for place in /etc /var/lib; do
    mkdir -p "$data/above$place" "$data/work$place"
    mount -t overlay overlay -o "lowerdir=$place,upperdir=$data/above$place,workdir=$data/work$place" "$place"
  done
  # Settings of this network may be written, those of the kernel not. The kubelet looks whether they are as it wants them,
  # and these say so.
  mkdir "$data/net"
  mount --bind /proc/sys/net "$data/net"
  mount --bind /proc/sys /proc/sys
  mount -o remount,bind,ro /proc/sys
  mount --bind "$data/net" /proc/sys/net
  local setting
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    [ -e "/proc/sys/${setting%=*}" ] || continue
    echo "${setting#*=}" > "$data/setting-${setting##*/}"
    mount --bind "$data/setting-${setting##*/}" "/proc/sys/${setting%=*}"
  done
  printf 'nameserver %s\nsearch svc.cluster.local cluster.local\n' "$dns" > "$data/resolv.conf"
  rm -f /etc/resolv.conf
  cp "$data/resolv.conf" /etc/resolv.conf
  printf '127.0.0.1 localhost\n%s node\n' "$node" > /etc/hosts
}

network() {
  hostname node
  ip link set lo up
  # The node's own address is on one end of a cable, and whatever is for elsewhere goes to nobody.
  ip link add node0 type veth peer name nobody
  ip address add "$node/24" dev node0
  ip link set node0 up
  ip link set nobody up
  ip route add default via 10.99.0.2 dev node0
  echo 1 > /proc/sys/net/ipv4/ip_forward
  if [ -e /proc/sys/net/bridge/bridge-nf-call-iptables ]; then
    echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables
  fi
}

# An authority, and what it signs: NAME SUBJECT [NAMES].
certificate() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" \
    -keyout "$keys/$1.key" -out "$keys/$1.csr" 2> /dev/null
  openssl x509 -req -in "$keys/$1.csr" -CA "$keys/ca.crt" -CAkey "$keys/ca.key" -days 2 -out "$keys/$1.crt" \
    -extfile <(printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:-}") 2> /dev/null
}

kubeconfig() { # NAME FILE
  cat > "$2" << END
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://$node:6443", certificate-authority: "$keys/ca.crt"}}]
users: [{name: "$1", user: {client-certificate: "$keys/$1.crt", client-key: "$keys/$1.key"}}]
contexts: [{name: test, context: {cluster: test, user: "$1"}}]
current-context: test
END
}

all_keys() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=kubernetes \
    -keyout "$keys/ca.key" -out "$keys/ca.crt" 2> /dev/null
  openssl genrsa -out "$keys/accounts.key" 2048 2> /dev/null
  openssl rsa -in "$keys/accounts.key" -pubout -out "$keys/accounts.pub" 2> /dev/null
  certificate server /CN=kube-apiserver \
    "subjectAltName=DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:${services%0/16}1,IP:$node,IP:127.0.0.1"
  certificate admin /O=system:masters/CN=admin
  certificate node /O=system:nodes/CN=system:node:node
  kubeconfig admin "$DIRECTORY/kubeconfig"
  kubeconfig node "$keys/node.kubeconfig"
}

settings() {
  mkdir -p "$data/cni"
  cat > "$data/cni/10-bridge.conflist" << END
{"cniVersion": "0.4.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "pods0", "isDefaultGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "dataDir": "/run/cni"}
}]}
END
  # Without CAP_SYS_RESOURCE nobody may be spared more than the parent is (restrict_oom_score_adj).
  cat > "$data/containerd.toml" << END
version = 2
root = "$data/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$TOOLS/usr/lib/cni"
    conf_dir = "$data/cni"
END
  cat > "$data/kubelet.yaml" << END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: "$keys/ca.crt"}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP
clusterDNS: ["$dns"]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
resolvConf: $data/resolv.conf
failSwapOn: false
protectKernelDefaults: true
serializeImagePulls: false
maxOpenFiles: 65536
evictionHard: {memory.available: 1Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%}
imageGCHighThresholdPercent: 100
featureGates: {KubeletCrashLoopBackOffMax: true}
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
END
  cat > "$data/proxy.yaml" << END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: "$DIRECTORY/kubeconfig"}
hostnameOverride: node
clusterCIDR: $pods
metricsBindAddress: ""
nftables: {minSyncPeriod: 100ms, syncPeriod: 60s}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
END
}

run() { # NAME COMMAND...
  local name=$1
  shift
  "$@" > "$logs/$name.log" 2>&1 &
}

until_it_does() { # WHAT COMMAND...
  local what=$1 begun=$SECONDS
  shift
  until "$@" > "$logs/wait.log" 2>&1; do
    if ((SECONDS - begun > 180)); then
      echo "in vain: $what: $(cat "$logs/wait.log")" >&2
      exit 1
    fi
    sleep 0.1
  done
}

kubectl() { command kubernetes kubectl --kubeconfig "$DIRECTORY/kubeconfig" "$@"; }

control_plane() {
  run etcd kubernetes etcd --data-dir "$data/etcd" --unsafe-no-fsync --log-level warn
  run kube-apiserver kubernetes kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --bind-address=0.0.0.0 --advertise-address="$node" --secure-port=6443 --service-cluster-ip-range="$services" \
    --tls-cert-file="$keys/server.crt" --tls-private-key-file="$keys/server.key" --client-ca-file="$keys/ca.crt" \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-signing-key-file="$keys/accounts.key" --service-account-key-file="$keys/accounts.pub" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true --profiling=false \
    --kubelet-client-certificate="$keys/admin.crt" --kubelet-client-key="$keys/admin.key" \
    --kubelet-preferred-address-types=InternalIP
  until_it_does "the API server is ready" kubectl get --raw /readyz
  run kube-controller-manager kubernetes kube-controller-manager --kubeconfig="$DIRECTORY/kubeconfig" \
    --authentication-kubeconfig="$DIRECTORY/kubeconfig" --authorization-kubeconfig="$DIRECTORY/kubeconfig" \
    --service-account-private-key-file="$keys/accounts.key" --root-ca-file="$keys/ca.crt" \
    --use-service-account-credentials=true --kube-api-qps=500 --kube-api-burst=1000 --leader-elect=false --profiling=false
  run kube-scheduler kubernetes kube-scheduler --kubeconfig="$DIRECTORY/kubeconfig" \
    --authentication-kubeconfig="$DIRECTORY/kubeconfig" --authorization-kubeconfig="$DIRECTORY/kubeconfig" \
    --leader-elect=false --profiling=false
}

container_runtime() {
  run containerd containerd --config "$data/containerd.toml" --log-level warn
  until_it_does "containerd answers" ctr --address /run/containerd/containerd.sock version
  local image
  for image in "$DIRECTORY"/images/*.tar; do
    ctr --address /run/containerd/containerd.sock --namespace k8s.io images import --all-platforms "$image" \
      >> "$logs/images.log" 2>&1
  done
}

node() {
  run kubelet kubernetes kubelet --kubeconfig="$keys/node.kubeconfig" --config="$data/kubelet.yaml" \
    --root-dir="$data/kubelet" --hostname-override=node --node-ip="$node"
  until_it_does "the node is known" kubectl get node node
  run kube-proxy kubernetes kube-proxy --config="$data/proxy.yaml"
  if [ "$POLICIES" = 1 ]; then
    run policies kubernetes policies "$DIRECTORY/kubeconfig" node "$services"
  fi
}

# Names are answered by a pod, as everywhere: policies open the way to it by its labels.
names() {
  kubectl apply -f - << END
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-dns, namespace: kube-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: kube-dns}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: kube-dns, namespace: kube-system}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $dns
  selector: {k8s-app: kube-dns}
  ports: [{name: dns, port: 53, protocol: UDP}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: kube-dns, namespace: kube-system}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec:
      serviceAccountName: kube-dns
      terminationGracePeriodSeconds: 0
      containers:
        - name: names
          image: localhost/pause:1
          command: [/programs/kubernetes, names, "", "0.0.0.0:53"]
          volumeMounts: [{name: programs, mountPath: /programs, readOnly: true}]
      volumes: [{name: programs, hostPath: {path: "$PROGRAMS"}}]
END
  kubectl --namespace kube-system rollout status deployment/kube-dns --timeout=150s
}

file_systems
network
all_keys
settings
container_runtime &
runtime=$!
control_plane
wait "$runtime"
node
names > "$logs/names.log" 2>&1
until_it_does "the node is ready" kubectl wait --for=condition=Ready node/node --timeout=10s
touch "$DIRECTORY/ready"
# Its children are looked after by nobody else.
while true; do
  wait -n || true
  sleep 1
done
