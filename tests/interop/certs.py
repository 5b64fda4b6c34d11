"""Certificates for one suite, made by openssl: an authority, and whom it signs."""

import subprocess


class Authority:
    def __init__(self, lab, name="ca"):
        lab.need("openssl")
        self.lab, self.name = lab, name
        self.file, self.key = lab.folder / f"{name}.pem", lab.folder / f"{name}.key"
        openssl("req", "-x509", *EC, "-nodes", "-keyout", self.key, "-out", self.file, "-days", 30, "-subj", f"/CN={name}",
                "-addext", "basicConstraints=critical,CA:TRUE")

    def sign(self, name, *names, days=30, early=False):
        """A certificate for `names` (DNS:…, IP:…, URI:…), as the paths of its file and its key; `days` below zero: one that has ended; `early`: one whose time has not come."""
        folder = self.lab.folder
        file, key, request = (folder / f"{name}.{ending}" for ending in ("pem", "key", "csr"))
        openssl("req", *EC, "-new", "-nodes", "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        key.chmod(0o600)
        (folder / f"{name}.ext").write_text(f"subjectAltName={','.join(names)}\n")
        if days > 0 and not early:
            openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                    "-extfile", folder / f"{name}.ext", "-out", file)
        else:
            dates = ("20900101000000Z", "20910203000000Z") if early else ("20200101000000Z", "20210203000000Z")
            self._dated(request, file, folder / f"{name}.ext", *dates)
        return file, key

    def _dated(self, request, file, ext, start, end):
        """`openssl x509` makes none that has ended, or is to begin; `openssl ca` does."""
        folder = self.lab.folder / "ca-ended"
        folder.mkdir(exist_ok=True)
        (folder / "index.txt").write_text("")
        (folder / "serial").write_text("99\n")
        config = self.lab.write("ca-ended.cnf", f"[ca]\ndefault_ca=d\n[d]\ndir={folder}\ndatabase={folder}/index.txt\nserial={folder}/serial\n"
                                f"new_certs_dir={folder}\ndefault_md=sha256\npolicy=p\nunique_subject=no\n[p]\ncommonName=supplied\n")
        openssl("ca", "-batch", "-config", config, "-cert", self.file, "-keyfile", self.key, "-in", request, "-out", file,
                "-extfile", ext, "-startdate", start, "-enddate", end, "-notext")


EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=30)
    if done.returncode:
        raise AssertionError(f"openssl {arguments[0]}: {done.stderr.strip()}")
    return done.stdout
