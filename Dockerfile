# syntax=docker/dockerfile:1
# Frontdesk as one static executable on distroless: every role is this image with another command.
#
#   docker build -t frontdesk .
#   docker run --rm frontdesk --help
#
# For several architectures, with an SBOM and provenance beside the image (each is built on its own kind of machine, or
# under QEMU, which takes an hour):
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=mode=max -t REGISTRY/frontdesk:0.1.0 --push .

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# --target, even though it is this machine's own: else crt-static would hit procedural macros too, and those are loaded
# by the compiler. Caches are of this builder alone and no part of any layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --release -p frontdesk --target "$target"; \
    install -D "target/$target/release/frontdesk" /out/frontdesk; \
    cargo tree --locked -p frontdesk -e normal --target "$target" --prefix none --format '{p}|{l}' \
      | python3 deploy/sbom.py > /out/sbom.cdx.json; \
    mkdir /out/data

# CA roots for n8n over TLS, a passwd, and nothing that could be run.
FROM gcr.io/distroless/static-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Frontdesk" \
      org.opencontainers.image.description="The secure front desk between a shop's chat widget and its n8n workflows" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      frontdesk.sbom.path="/usr/share/sbom/frontdesk.cdx.json" \
      frontdesk.sbom.format="CycloneDX 1.6"
COPY --from=build /out/frontdesk /frontdesk
COPY --from=build /out/sbom.cdx.json /usr/share/sbom/frontdesk.cdx.json
# What analytics keeps. A named volume that is mounted here takes over whom the folder belongs to.
COPY --from=build --chown=65532:65532 /out/data /var/lib/frontdesk
USER 65532:65532
EXPOSE 8000 8001 8002
ENTRYPOINT ["/frontdesk"]
