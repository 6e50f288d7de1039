"""The cases, and the values that they have in common. See `run`."""

BUCKET = "store: {url: 's3://bucket'}\n"
# What an ingress and a monitor cannot do without.
PROXY = "trustedProxies: [10.244.0.0/16]\n"
PROMETHEUS = "networkPolicy: {adminFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}\n"
OPEN = BUCKET + "access: {anonymous: pull}\n"
LOGIN = BUCKET + "access: {authenticated: push, htpasswd: {existingSecret: users}}\n"
ARN = "arn:aws:iam::123456789012:role/longshore"
RENDERED, REFUSED = [], []


def rendered(values, *arguments):
    """A case: these values are rendered, and the function looks at the objects."""
    def keep(function):
        RENDERED.append((function.__name__, values, arguments, function))
        return function
    return keep


def refused(name, values, message):
    """A case: these values are refused with a message that has these words in it."""
    REFUSED.append((name, values, message))
