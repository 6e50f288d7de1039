# What the collector received, a batch on each line, as one list of spans with their attributes as an
# object, and words to ask for them. Read with `jq -s -L tests/deploy/traces`.

def text: to_entries[0].value;

def spans:
  [.[].resourceSpans[] as $of | $of.scopeSpans[].spans[] | {
    trace: .traceId, id: .spanId, parent: (.parentSpanId // ""), name, kind,
    status: (.status.code // 0), events: (.events // []),
    service: ([$of.resource.attributes[] | select(.key == "service.name") | .value | text][0]),
    resource: ([$of.resource.attributes[] | {(.key): (.value | text)}] | add),
    attributes: ([.attributes[]? | {(.key): (.value | text)}] | add // {})
  }];

# The spans of one trace.
def trace($id): spans | map(select(.trace == $id));

# Every span that is below this one, however deep.
def below($all): .id as $id | $all | map(select(.parent == $id)) | map(., (. | below($all))[]);

# The server's spans among some.
def requests: map(select(.kind == 2));
def named($name): map(select(.name == $name));
