# A static binary and nothing else: no shell, no package manager, no root.
#
#     docker build -t headrace .
#     docker run --rm -p 8080:8080 -e HEADRACE_LISTEN=0.0.0.0:8080 -e HEADRACE_KEYS=acme=sk-mine headrace
#
# An address that others can reach needs keys; without HEADRACE_KEYS the gateway
# refuses to start on one.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /headrace ./cmd/headrace

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /headrace /headrace
COPY --from=build /src/gateway.yaml /etc/headrace/gateway.yaml
COPY --from=build /src/LICENSE /LICENSE
USER nonroot:nonroot
EXPOSE 8080
ENTRYPOINT ["/headrace"]
CMD ["run", "--config", "/etc/headrace/gateway.yaml"]
