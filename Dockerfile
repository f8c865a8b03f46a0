# docker build -t repfusion . && docker run --gpus all -it -v "$PWD/data:/repfusion/data" repfusion
FROM python:3.11-slim-bookworm
# A compiler for xtcocotools and torch.compile; what OpenCV links to.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /repfusion
COPY . .
RUN PIP_NO_CACHE_DIR=1 bash tools/install.sh
ENV PATH="/repfusion/.venv/bin:$PATH"
CMD ["bash"]
