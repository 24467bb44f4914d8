"""disks: small filesystems of a test's own, for spools.

They are mounted in a mount namespace of this process, and loop devices go
away with their mount: even after SIGKILL nothing stays behind.
"""

import ctypes
import os

from harness import Skip, need, need_root, run_command, say

CLONE_NEWNS = 0x00020000


def run_root(*args):
    status, _, err = run_command(list(args))
    if status != 0:
        raise OSError(f"{' '.join(args)}: {err.strip()}")


def own_namespace():
    """Mounts from here on are seen by this process and its children only, and end with them."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise Skip("no mount namespace: " + os.strerror(ctypes.get_errno()))
    run_root("mount", "--make-rprivate", "/")


def unmount(top):
    """Also when somebody is still in it: the loop device goes away with the last user. May be called again."""
    if os.path.ismount(top):
        try:
            run_root("umount", top)
        except OSError as why:
            say(why)
            run_root("umount", "--lazy", top)
    if os.path.isdir(top):
        os.rmdir(top)


def _mount(w, args):
    top = w.path("disk")
    os.mkdir(top, 0o700)
    w.on_close(lambda: unmount(top))
    try:
        run_root("mount", *args, top)
    except OSError as why:
        raise Skip(f"can't be mounted here: {why}") from None
    return top


def small_tmpfs(w, options):
    need_root()
    need("mount", "umount")
    own_namespace()
    return _mount(w, ["-t", "tmpfs", "-o", options + ",mode=700", "tmpfs"])


def small_ext4(w, mib):
    need_root()
    need("mkfs.ext4", "mount", "umount", "truncate")
    own_namespace()
    image = w.path("disk.img")
    run_root("truncate", "-s", f"{mib}M", image)
    run_root("mkfs.ext4", "-q", "-F", "-m", "0", image)
    return _mount(w, ["-o", "loop,noatime", image])


class Ballast:
    """A foreign file that takes space."""

    def __init__(self, folder):
        self.file = folder + "/ballast"
        self.folder = folder
        with open(self.file, "wb"):
            pass

    @staticmethod
    def free(folder):
        v = os.statvfs(folder)
        return v.f_bavail * v.f_frsize

    def leave(self, free):
        """Grows or shrinks so that at most so many bytes are free, and hardly less."""
        for _ in range(20):  # a filesystem's own needs shift it a little
            more = self.free(self.folder) - free
            if more > 0:
                self.grow(more)
            elif more < -65536:
                os.truncate(self.file, os.path.getsize(self.file) + more)
            else:
                return
        raise AssertionError(f"{self.free(self.folder)} bytes are free, not {free}")

    def grow(self, more):
        with open(self.file, "ab", buffering=0) as f:
            try:
                while more > 0:
                    more -= f.write(b"x" * min(more, 65536))
            except OSError:
                pass
            os.fsync(f.fileno())

    def fill(self):
        """Until not one byte is free."""
        with open(self.file, "ab", buffering=0) as f:
            for size in (65536, 512):
                try:
                    while f.write(b"x" * size):
                        pass
                except OSError:
                    pass
            os.fsync(f.fileno())

    def remove(self):
        os.unlink(self.file)
