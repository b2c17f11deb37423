#!/usr/bin/env bash
# install.sh ROOT: what systemd/README.md says under "Install", below ROOT, but for the pip: the sources as they are here, and
# the tests' own environment for what they need. SITE: its site-packages.
set -euo pipefail
root=$1
sources=$(dirname "$(realpath "$0")")/../../..
base=$("$PYTHON" -c 'import sys; print(sys.base_prefix)')
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
interpreter=$base/bin/python$version
if [ "$base" != /usr ]; then # a home directory is closed to a service (ProtectHome=)
    mkdir "$root/opt/python"
    mount --bind "$base" "$root/opt/python"
    interpreter=/opt/python/bin/python$version
    echo /opt/python/lib >"$root/etc/ld.so.conf.d/00-tests.conf" # its own libpython, not the distribution's
    chroot "$root" ldconfig
fi
venv=$root/opt/muxproxy
mkdir -p "$venv/bin" "$venv/lib/python$version/site-packages" "$root/opt/site"
mount --bind "$SITE" "$root/opt/site"
printf 'home = %s\ninclude-system-site-packages = false\n' "${interpreter%/*}" >"$venv/pyvenv.cfg"
ln -s "$interpreter" "$venv/bin/python"
cp -R "$sources/muxproxy" "$venv/lib/python$version/site-packages/"
echo /opt/site >"$venv/lib/python$version/site-packages/site.pth"
printf '#!/opt/muxproxy/bin/python\nfrom muxproxy.cli.main import main\nmain()\n' >"$venv/bin/muxproxy"
chmod 755 "$venv/bin/muxproxy"
mkdir -p "$root/etc/muxproxy/backends" "$root/etc/muxproxy/instances"
cp "$sources"/systemd/*.service "$root/etc/systemd/system/"
grep -q ^muxproxy: "$root/etc/passwd" || chroot "$root" useradd --system --no-create-home --shell /usr/sbin/nologin muxproxy
