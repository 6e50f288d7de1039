//! The long help of each command.

pub(super) const SERVE_ABOUT: &str = "\
Run the registry.

Without arguments it listens on 127.0.0.1:5000 and keeps everything in the folder longshore-data. \
Ctrl-C or SIGTERM shuts it down after requests in flight have finished.

On S3 the bucket is the only state. Run any number of processes on one bucket, behind any load \
balancer: each process can continue an upload that another one started.";

pub(super) const SERVE_EXAMPLES: &str = "\
Examples:
  A folder on this machine:
    longshore serve
    docker push localhost:5000/hello:1

  MinIO, or any other S3 server:
    export AWS_ENDPOINT_URL_S3=http://127.0.0.1:9000 AWS_REGION=us-east-1
    export AWS_ACCESS_KEY_ID=minioadmin AWS_SECRET_ACCESS_KEY=minioadmin
    longshore serve --store s3://registry

  AWS, with the role of the machine or the pod, blobs fetched from S3 by the clients:
    AWS_REGION=eu-central-1 longshore serve --store s3://my-bucket/registry --delivery redirect

  Open to the network, with passwords for those who push:
    htpasswd -B -c users alice
    LONGSHORE_ACCESS_HTPASSWD_FILE=users LONGSHORE_ACCESS_AUTHENTICATED=push \\
      longshore serve --listen 0.0.0.0:5000 --anonymous pull

  Open to the network, without passwords:
    longshore serve --listen 0.0.0.0:5000 --anonymous push

Configuration:
  Each setting has a key, such as uploads.part_bytes. Longshore reads it from the file of --config,
  from the environment and from flags; a later one overrides an earlier one:

    [uploads]                                  # longshore.toml
    part_bytes = \"32MiB\"

    LONGSHORE_UPLOADS_PART_BYTES=32MiB         # the environment

  `longshore config-reference` prints every key with its default and its meaning.
  `longshore check`, with the same flags, reports what is wrong with a configuration, its store or
  its Redis.

S3 credentials:
  Longshore looks where the AWS SDK looks: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile
  AWS_PROFILE, web identity (IRSA), container and instance roles. Or write them into the file, the
  secret into a file of its own:

    [store.s3]
    access_key_id = \"longshore\"
    secret_access_key_file = \"/run/secrets/s3\"";

pub(super) const EXPLAIN_ABOUT: &str = "\
Print who a caller is and which rule decides about each action, or about one.

It uses the configuration of `serve`. With --subject it assumes that the caller is who they claim \
to be, and needs neither a password nor a token. A token and a certificate are verified as `serve` \
does it; it fetches the keys of an issuer, and reads those of the registry's own tokens from the \
store. With a folder as the store, stop `longshore serve` first. For example:

    longshore access explain --config longshore.toml \\
      --subject user:alice --subject group:developers --repository team/app --action push
    longshore access explain --config longshore.toml --token - --repository team/app <token

Exit status: 0; 1 if the one action that was asked for is denied, or if it could not be found \
out; 3 if the token or the certificate is refused.";

pub(super) const CHECK_FILE_ABOUT: &str = "\
Compare what the rules decide with the answers that a file expects.

It uses the configuration of `serve`, and neither the store nor a server. The file is TOML:

    [[answers]]
    caller = \"user:ci\"
    repository = \"team/app\"
    actions = [\"pull\", \"create\"]
    allowed = true

`caller` is anonymous, user:NAME, issuer:NAME or certificate:NAME. `claims` is a table with the \
claims of the token of an issuer or of a token server, `groups` a list of groups of a token \
server. The token of a token server is assumed to list the repository and the action. `rule` is a \
part of the rule that has to allow it, as `longshore access explain` prints it.

Exit status: 0; 3 if an answer differs; 1 if the file or the configuration cannot be used.";

pub(super) const USER_ADD_ABOUT: &str = "\
Add a user to the password file, and create the file if it is not there.

It asks for the password twice, or reads it from the standard input. The file is that of the \
configuration of `serve`, or that of --file; a process that uses it reads it again within a \
second of the next request. For example:

    printf %s \"$password\" | longshore user add alice --file users --password-stdin";

pub(super) const USER_PASSWD_ABOUT: &str = "\
Change the password of a user in the password file.

It asks for the password twice, or reads it from the standard input. Refresh tokens that the user \
got with the old password end.";

pub(super) const SETTINGS_SHOW_ABOUT: &str = "\
Print what the bucket holds of the settings that all processes on it share, beside the values of \
this configuration.

It uses the configuration of `serve`. A process starts only if the two agree; the first start on a \
bucket writes the values of its configuration.";

pub(super) const SETTINGS_SET_ABOUT: &str = "\
Change the settings that all processes on one bucket share.

It uses the configuration of `serve` to find the bucket, replaces the record of the settings with \
one compare-and-swap, and prints what the bucket holds then. It refuses values with which content \
could be lost. The keys are collection.grace, collection.write_deadline, collection.clock_skew, \
collection.quarantine, and oldest_writer: the oldest release that may start. For example:

    longshore settings set --config longshore.toml collection.grace=4d

A process that runs keeps the settings that it started with, and a process that differs from the \
bucket does not start. So the order is:

  1. Change the bucket with this command.
  2. Change the configuration of all processes, and restart every one of them.
  3. Only then may garbage collection run: set collection.enabled = false before.

To raise the grace, raise it in the bucket before any process relies on it. To lower it, first \
every process must have the shorter half-life (half of the grace, for which a process relies on \
what it has read), and only later may anything be collected by the shorter grace. So do not let \
garbage collection run between steps 1 and 3.";

pub(super) const GC_ABOUT: &str = "\
Collect garbage once: free the space of what was deleted, then exit.

`serve` does the same in the background (collection.enabled), so most registries do not need this \
command. It uses the configuration of `serve`, Redis included: what it removes also leaves the \
caches. It may run at any time, beside any number of processes that serve. A run that is cut off \
is continued by the next one.

Nothing is removed that was used within collection.grace, an unreferenced blob is removed by the \
second run that finds it, and its data waits for collection.quarantine: so a first run frees \
little. docs/collection.md says what is freed when.

Exit codes: 0 the run is complete, 1 it failed, 2 the command line is wrong, 3 another process \
collects at this moment.";

pub(super) const CREDENTIAL_PROVIDER_ABOUT: &str = "\
Answer the kubelet: pods pull as their own service account.

The kubelet runs this command before it pulls an image from the registry: it is a credential \
provider plugin (credentialprovider.kubelet.k8s.io/v1). It reads a CredentialProviderRequest from \
standard input, and prints a response in which the token of the pod's service account is the \
password of the user oidc, for as long as the token is valid. It asks no server and needs no \
configuration; the registry verifies the token ([[access.issuers]]) and its rules decide.

docs/pods.md installs it on the nodes of a cluster. Exit codes: 0 there is a response, 1 there is \
none, 2 the command line is wrong.";

pub(super) const HEALTHCHECK_ABOUT: &str = "\
Ask a registry on this machine whether it is alive; exit with 1 if it is not.

It uses the configuration of `serve` and requests http://ADDRESS/livez at the address of \
admin.listen. It contacts neither the store nor Redis: a registry that waits for its store is \
alive. It is made for the HEALTHCHECK of a container image.";

pub(super) const AUDIT_ABOUT: &str = "\
Check that everything the bucket says is true, without reading blobs.

It uses the configuration of `serve`, and runs beside it: pushes and deletions meanwhile are no \
findings. Every link and pointer must have its data object, with the size and the ETag that were \
written; every manifest what it names; every tag its manifest; and so on. docs/audit.md has each \
class of finding and what to do about it. Information is counted, and is no damage.

--repair writes lost rows of the tag index, of referrers and of the catalog again, deletes \
pointers to data that is missing, so that a push stores it again, and finishes deletions. It never \
deletes content.

Exit status: 0 no damage; 1 it could not finish; 2 wrong arguments; 3 it has found damage, also if \
it has repaired all of it.";

pub(super) const SCRUB_ABOUT: &str = "\
Hash the content in the bucket again: manifests, small blobs in their links, and the data objects \
that pointers name.

It uses the configuration of `serve`, and runs beside it. Ctrl-C or SIGTERM stops it; it then \
prints the key with which --after continues.

Exit status: 0 all content is right; 1 it could not finish, or was stopped; 2 wrong arguments; 3 \
it has found damage.";

pub(super) const USAGE_ABOUT: &str = "\
Explain every byte of the bucket: what is in use, what garbage collection will take, what records \
need, and what Longshore has not written.

It uses the configuration of `serve`, and runs beside it. It lists the whole bucket, and reads \
links, pointers, manifests and upload sessions.

Exit status: 0 done; 1 it could not finish; 2 wrong arguments.";

pub(super) const INSPECT_ABOUT: &str = "\
Show what the store says of a tag, manifest, blob, repository or key.

It uses the configuration of `serve`, asks the store past all caches, and writes nothing. Of a tag \
it shows the record, the manifest, and the link, pointer and data object of each blob; of a \
repository, how much it has. It shows what a pull hides: tombstones, deletions that have begun, \
leases and quarantine. For example:

    longshore inspect --config longshore.toml team/app:v1
    longshore inspect --config longshore.toml --json team/app@sha256:…

docs/finding-data.md explains the keys and the records.

Exit status: 0 it is there; 1 the command could not finish; 2 wrong arguments; 3 it is not there, \
or was deleted.";

pub(super) const DOCTOR_ABOUT: &str = "\
Examine a running deployment from outside, and print what is wrong with it: a line for each \
finding, with what is wrong, how it was seen, and what to do.

It asks the registry as a client does, and with --admin its processes as monitoring does. It needs \
no configuration. Without --write it sends nothing that could change anything; with --write it \
uploads 20 MiB and cancels the upload, and pushes a blob of 256 KiB, pulls and deletes it. For \
example:

    longshore doctor https://registry.example.com --user ops --password-file password --write \\
      --admin http://10.0.0.7:5001 --admin http://10.0.0.8:5001

docs/doctor.md explains each finding. The file in SSL_CERT_FILE holds the certificate authorities \
to trust; without it those of the machine count.

Exit status: 0 nothing was found; 1 the registry cannot be reached; 2 wrong arguments; 3 something \
was found.";

pub(super) const CHECK_ABOUT: &str = "\
Check the configuration, the store and Redis, then exit.

It uses the configuration of `serve` and builds what `serve` builds, without serving. It reports \
all errors of the configuration at once, each with its file and line, variable or flag. Then it \
tests with a few requests that the store does what the registry relies on, and whether Redis \
answers; without Redis the registry works, so that is a warning. It leaves nothing in the store.";

pub(super) const KEYS_LIST_ABOUT: &str = "\
Print the keys with which the registry signs and verifies its own tokens, the record `g/keys` of \
the bucket: which one signs, which one will, and until when the others verify.

The keys themselves are not printed.";

pub(super) const KEYS_ROTATE_ABOUT: &str = "\
Make a new key. Every process reads it within a minute and verifies with it; it signs after five \
minutes. The key before it verifies until nothing that it has signed can be valid, 31 days; no \
client notices anything.

With --revoke the new key is the only one at once: all tokens end within a minute, and clients \
that keep a refresh token instead of a password have to log in again.

Changes the bucket. With a folder as the store, stop `longshore serve` first.";
