#!/bin/busybox sh
# First process of the guest: modules, mounts, network, scratch disk, agent, load runner.
/bin/busybox --install -s /bin
export PATH=/bin PYTHONPATH=/opt/cis490 PYTHONDONTWRITEBYTECODE=1 HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /run /scratch
mount -t tmpfs tmp /tmp
for module in $(cat /etc/modules); do insmod "/lib/modules/$module"; done
for word in $(cat /proc/cmdline); do
    case "$word" in cis490.*=*) key="${word%%=*}"; eval "${key#cis490.}=\"${word#*=}\"";; esac
done
ip link set lo up
n=0
while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 50 ]; do usleep 100000; n=$((n + 1)); done
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
ip addr add "$address" dev eth0
ip link set eth0 up
ip route add default via "$gateway"
n=0
while [ ! -e "/dev/$disk" ] && [ "$disk" != none ] && [ $n -lt 50 ]; do usleep 100000; n=$((n + 1)); done
if [ "$filesystem" = tmpfs ]; then mount -t tmpfs -o size=50% scratch /scratch; else mount -t ext4 "/dev/$disk" /scratch; fi
for port in /sys/class/virtio-ports/*; do ln -s "/dev/${port##*/}" "/dev/$(cat "$port/name")"; done
# Only to compare the guest's own count of its packets with the tap's.
if [ "$capture" = yes ]; then netflow=; else netflow=--no-netflow; fi
/usr/bin/python3 /opt/cis490/agent.pyz --to serial:/dev/cis490.rows --iface eth0 $netflow &
/usr/bin/python3 -m cis490_guest.runner /dev/cis490.control
echo "the load runner ended"
poweroff -f
