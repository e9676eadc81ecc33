# syntax=docker/dockerfile:1
# The CPU server. Build: docker build -t cascade .
# Run: docker run -p 50051:50051 -p 8000:8000 -v /folder/with/models:/models:ro -e CASCADE_MODEL=/models/model.gguf cascade
FROM debian:bookworm-slim AS build
WORKDIR /src
# Dependencies first: their layer is made again only when the list changes.
COPY cmake/dependencies.txt cmake/
COPY scripts/common.sh scripts/install_dependencies scripts/
RUN scripts/install_dependencies
COPY . .
RUN scripts/build cpu-release cascade-server cascade \
    && strip build/cpu-release/bin/cascade-server build/cpu-release/bin/cascade

FROM debian:bookworm-slim
# Versions are the release's own; pinning them would keep security updates out.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libabsl20220623 libgrpc++1.51 libhwy1 libpcre2-8-0 libprotobuf32 \
        libspdlog1.10 libutf8proc2 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/build/cpu-release/bin/cascade-server /src/build/cpu-release/bin/cascade /usr/local/bin/
USER 65532:65532
# Inside the container the port stays what it is; publish it as another one if need be.
ENV CASCADE_HOST=0.0.0.0
EXPOSE 50051 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["cascade", "--timeout", "4", "info"]
ENTRYPOINT ["cascade-server"]
