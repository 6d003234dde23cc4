#!/bin/sh
# curl, as the pages of the API show it: what goes in and what comes out, to the letter.
set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
model=models/gemini-3.8-flash
question='{"contents":[{"parts":[{"text":"Name a wader."}]}]}'
count=0

# Sends a request: send STATUS WANTED CURL-ARGUMENTS...; the answer is in $room/answer and holds WANTED.
send() {
    status=$1 wanted=$2
    shift 2
    count=$((count + 1))
    got=$(curl -sS --max-time 60 -D "$room/head" -o "$room/answer" -w '%{http_code}' "$@")
    case $got in $status) ;; *) got="$got!" ;; esac
    if [ "${got%!}" != "$got" ] || ! sed "s/\": */\":/g" "$room/answer" | grep -q -- "$wanted"; then
        echo "curl $*: $got instead of $status, or no $wanted in:" >&2
        head -c 2000 "$room/answer" >&2
        exit 1
    fi
}

google() {
    status=$1 wanted=$2 path=$3
    shift 3
    send "$status" "$wanted" -H "x-goog-api-key: $TIDEGATE_TOKEN" "$@" "$TIDEGATE_URL$path"
}

openai() {
    status=$1 wanted=$2 path=$3
    shift 3
    send "$status" "$wanted" -H "Authorization: Bearer $TIDEGATE_TOKEN" "$@" "$TIDEGATE_URL$path"
}

header() {
    grep -i "^$1:" "$room/head" | tr -d '\r' | cut -d' ' -f2-
}

fail() {
    echo "curl: $*" >&2
    exit 1
}

# Texts, with the token in each of its places.
google 200 '"finishReason":"STOP"' "/v1beta/$model:generateContent" -d "$question"
header content-type | grep -q 'application/json; charset=UTF-8' || fail "the type of the answer"
[ -n "$(header x-tidegate-request-id)" ] || fail "the answer has no id"
send 200 '"usageMetadata"' -d "$question" "$TIDEGATE_URL/v1/$model:generateContent?key=$TIDEGATE_OTHER_TOKEN"
send 401 '"status":"UNAUTHENTICATED"' -d "$question" "$TIDEGATE_URL/v1/$model:generateContent"
send 401 '"status":"UNAUTHENTICATED"' -d "$question" "$TIDEGATE_URL/v1/$model:generateContent?key=nobody"

# Streams: events and one list.
google 200 '^data: {' "/v1beta/$model:streamGenerateContent?alt=sse" -N -d "$question"
header content-type | grep -q '^text/event-stream' || fail "the type of a stream"
grep -v '^data: {' "$room/answer" | tr -d '\r\n' | grep -q . && fail "something stands between the events"
google 200 'finishReason' "/v1beta/$model:streamGenerateContent" -d "$question"
python3 -c 'import json, sys; assert len(json.load(open(sys.argv[1]))) > 1' "$room/answer"

# The rest of Gemini's methods.
google 200 '"totalTokens"' "/v1beta/$model:countTokens" -d "$question"
google 200 '"nextPageToken"' '/v1beta/models?pageSize=2'
google 200 '"supportedGenerationMethods"' "/v1beta/$model"
google 200 '"values"' '/v1beta/models/gemini-embedding-001:embedContent' -d '{"content":{"parts":[{"text":"gull"}]}}'
google 40? '"status":"NOT_FOUND"' '/v1beta/nothing/here'
google 40? '"status": *"INVALID_ARGUMENT"' "/v1beta/$model:generateContent" -d '{"contents":'

# A file: the start of an upload, its bytes, its use and its end.
head -c 20971520 /dev/urandom >"$room/noise"
printf '\211PNG\r\n\032\n\000\000\000\rIHDR\000\000\000\001\000\000\000\001\010\000\000\000\000\072\176\233\125' >"$room/chart.png"
cat "$room/noise" >>"$room/chart.png"
bytes=$(wc -c <"$room/chart.png" | tr -d ' ')
google 200 '' '/upload/v1beta/files' -H 'X-Goog-Upload-Protocol: resumable' -H 'X-Goog-Upload-Command: start' \
    -H "X-Goog-Upload-Header-Content-Length: $bytes" -H 'X-Goog-Upload-Header-Content-Type: image/png' \
    -H 'Content-Type: application/json' -d '{"file":{"display_name":"chart"}}'
upload=$(header x-goog-upload-url)
case $upload in "$TIDEGATE_URL"/*) ;; *) fail "the upload goes elsewhere: $upload" ;; esac
send 200 '"state"' -H 'X-Goog-Upload-Offset: 0' -H 'X-Goog-Upload-Command: upload, finalize' --data-binary "@$room/chart.png" "$upload"
[ "$(header x-goog-upload-status)" = final ] || fail "the upload has no end"
name=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["file"]["name"])' "$room/answer")
uri=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["file"]["uri"])' "$room/answer")
google 200 '"finishReason"' "/v1beta/$model:generateContent" \
    -d '{"contents":[{"parts":[{"text":"What is it?"},{"file_data":{"mime_type":"image/png","file_uri":"'"$uri"'"}}]}]}'
google 200 "$name" '/v1beta/files'
google 200 '"displayName": *"chart"' "/v1beta/$name"
google 200 '{}' "/v1beta/$name" -X DELETE
google 40? '"error"' "/v1beta/$name"

# OpenAI's routes.
chat='"model":"gemini-3.8-flash","messages":[{"role":"user","content":"Name a wader."}]'
openai 200 '"object":"chat.completion"' /v1/chat/completions -d "{$chat}"
openai 200 '^data: \[DONE\]' /v1/chat/completions -N -d "{$chat,\"stream\":true}"
openai 200 '"object":"list"' /v1/models
openai 400 '"param":"logit_bias"' /v1/chat/completions -d "{$chat,\"logit_bias\":{\"5\":1}}"
send 401 '"type":"authentication_error"' -H 'Authorization: Bearer nobody' -d "{$chat}" "$TIDEGATE_URL/v1/chat/completions"

# Our own.
google 200 '"response"' /chat -d '{"message":"Name a wader."}'
google 200 '"key_status"' /status
send 200 '"ok"' "$TIDEGATE_URL/healthz"
send 200 '"ready"' "$TIDEGATE_URL/readyz"
echo "$count requests as they should be"
