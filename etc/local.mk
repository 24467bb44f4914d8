# The sample goes to the documentation of the package as it is, and becomes the
# configuration where there is none yet, with the paths of this installation.

EXTRA_DIST += \
	etc/build.sh \
	etc/packages.sh \
	etc/quickstart.sh

dist_pkgdata_DATA = etc/postrider.conf

bouncedir = $(pkgdatadir)/bounce
dist_bounce_DATA = etc/bounce/failed.txt

conf_installed = $(DESTDIR)$(sysconfdir)/postrider/postrider.conf
conf_with_paths = sed \
	-e 's|"/etc/postrider/|"$(sysconfdir)/postrider/|' \
	-e 's|"/var/spool/|"$(localstatedir)/spool/|' \
	-e 's|"/var/log/|"$(localstatedir)/log/|' \
	'$(srcdir)/etc/postrider.conf'

install-data-local:
	$(MKDIR_P) '$(DESTDIR)$(sysconfdir)/postrider'
	test -e '$(conf_installed)' || $(conf_with_paths) > '$(conf_installed)'

# What the operator has changed stays.
uninstall-local:
	if $(conf_with_paths) | cmp -s - '$(conf_installed)'; then rm -f '$(conf_installed)'; fi
	-rmdir '$(DESTDIR)$(sysconfdir)/postrider' 2>/dev/null
