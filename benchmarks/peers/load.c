/* The cheap end of the fan-out benchmark: a WebSocket client with thousands of sockets, and the floor it is held against.
 *
 *   load client PORT SOCKETS CASE    open the sockets one by one, subscribe, then count what comes; speaks on stdin/stdout
 *   load server PORT SOCKETS         `send()` in a loop: no library, no filter, one system call per frame
 *
 * CASE is `broadcast` (everything) or `selective` (10 of 200 symbols and 2 of 4 severities per socket, as in fanout.py).
 * Commands of the client: `expect N` (answers `done N` when N anomaly frames have come since `reset`), `reset`, `stats`,
 * `hash 1` (frames whole), `hash 2` (their beginnings, up to the anomaly's revision: offset and id), `hash 0`, `dump` (per
 * socket: frames since `reset`, a hash over their bytes, the last offset), `stall K` and `resume` (the first K sockets stop
 * reading), `quit`.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int fd, stalled, carried, close_code;
    unsigned char *carry;
    uint64_t frames, hash, offset;
} Socket;

enum { BUFFER = 1 << 20, LATENCIES = 1 << 22 };
static unsigned char buffer[BUFFER];
static uint32_t latencies[LATENCIES];
static uint64_t latency_count, total, expected;
static int hashing, closed;
static const uint64_t SEED = 14695981039346656037u;

static void die(const char *what) { perror(what); exit(1); }

static uint64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int connect_to(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void send_frame(int fd, int opcode, const char *text, size_t size) {
    unsigned char frame[4096];
    size_t header = 2;
    frame[0] = 0x80 | opcode;
    if (size < 126) frame[1] = 0x80 | size;
    else { frame[1] = 0x80 | 126; frame[2] = size >> 8; frame[3] = size; header = 4; }
    memset(frame + header, 0, 4); /* a mask of zeros is a mask */
    memcpy(frame + header + 4, text, size);
    if (send(fd, frame, header + 4 + size, MSG_NOSIGNAL) < 0) perror("send");
}

/* Read until `end` has come: the handshake, and then the acknowledgement. What comes with it is not an anomaly yet. */
static void read_until(int fd, const char *end) {
    size_t size = 0;
    while (!memmem(buffer, size, end, strlen(end))) {
        ssize_t got = recv(fd, buffer + size, BUFFER - size, 0);
        if (got <= 0) die("handshake");
        size += got;
    }
}

static void subscribe(int fd, int number, int selective) {
    static const char *severities[] = {"LOW", "MEDIUM", "HIGH", "CRITICAL"};
    char text[2048];
    int at = snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"filters\":{\"channels\":[\"alerts\"]");
    if (selective) {
        at += snprintf(text + at, sizeof text - at, ",\"symbols\":[");
        for (int i = 0; i < 10; i++)
            at += snprintf(text + at, sizeof text - at, "%s\"S%03dUSDT\"", i ? "," : "", (number * 10 + i) % 200);
        at += snprintf(text + at, sizeof text - at, "],\"severities\":[\"%s\",\"%s\"]", severities[(number / 20) % 4],
                       severities[(number / 20 + 1) % 4]);
    }
    at += snprintf(text + at, sizeof text - at, "}}");
    send_frame(fd, 1, text, at);
}

static void take(Socket *s, int opcode, const unsigned char *data, uint64_t size) {
    if (opcode == 9) send_frame(s->fd, 10, (const char *)data, size);
    if (opcode == 8) s->close_code = size >= 2 ? data[0] << 8 | data[1] : 1005;
    if (opcode != 1 || size < 15 || memcmp(data, "{\"type\":\"alert\"", 15)) return;
    s->frames++;
    total++;
    const unsigned char *offset = memmem(data, size, "\"offset\":", 9);
    if (offset) s->offset = strtoull((const char *)offset + 9, NULL, 10);
    if (hashing) {
        const unsigned char *revision = hashing == 2 ? memmem(data, size, ",\"revision\"", 11) : NULL;
        const unsigned char *end = revision ? revision : data + size;
        for (const unsigned char *at = data; at < end; at++) s->hash = (s->hash ^ *at) * 1099511628211u;
    }
    const unsigned char *stamp = memmem(data, size, "\"sentence\":\"at ", 15);
    if (stamp && latency_count < LATENCIES)
        latencies[latency_count++] = now_us() - strtoull((const char *)stamp + 15, NULL, 10);
}

static void readable(Socket *s) {
    memcpy(buffer, s->carry, s->carried);
    ssize_t got = recv(s->fd, buffer + s->carried, BUFFER - s->carried, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        close(s->fd);
        s->fd = -1;
        closed++;
        return;
    }
    size_t end = s->carried + got, at = 0;
    while (end - at >= 2) {
        uint64_t size = buffer[at + 1] & 0x7f;
        size_t header = 2;
        if (size == 126) {
            if (end - at < 4) break;
            size = (uint64_t)buffer[at + 2] << 8 | buffer[at + 3];
            header = 4;
        } else if (size == 127) {
            if (end - at < 10) break;
            size = 0;
            for (int i = 2; i < 10; i++) size = size << 8 | buffer[at + i];
            header = 10;
        }
        if (end - at < header + size) break;
        take(s, buffer[at] & 15, buffer + at + header, size);
        at += header + size;
    }
    s->carried = end - at;
    s->carry = realloc(s->carry, s->carried + 1);
    memcpy(s->carry, buffer + at, s->carried);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void stats(Socket *sockets, int count) {
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    int slow = 0;
    for (int i = 0; i < count; i++) slow += sockets[i].close_code == 4408;
#define AT(q) (latency_count ? latencies[(uint64_t)((latency_count - 1) * (q))] : 0)
    printf("{\"total\":%lu,\"closed\":%d,\"closed_4408\":%d,\"p50_us\":%u,\"p99_us\":%u,\"max_us\":%u}\n", total, closed,
           slow, AT(0.5), AT(0.99), AT(1));
}

static int command(Socket *sockets, int count, int epoll) {
    char line[256];
    if (!fgets(line, sizeof line, stdin) || !strncmp(line, "quit", 4)) return 0;
    if (!strncmp(line, "expect ", 7)) expected = strtoull(line + 7, NULL, 10);
    if (!strncmp(line, "reset", 5)) {
        total = expected = latency_count = 0;
        for (int i = 0; i < count; i++) sockets[i].frames = 0, sockets[i].hash = SEED;
    }
    if (!strncmp(line, "hash ", 5)) hashing = atoi(line + 5);
    if (!strncmp(line, "stats", 5)) stats(sockets, count);
    if (!strncmp(line, "dump", 4))
        for (int i = 0; i < count; i++) printf("%lu %lu %lu\n", sockets[i].frames, sockets[i].hash, sockets[i].offset);
    int stalled = strncmp(line, "stall ", 6) ? 0 : atoi(line + 6);
    for (int i = 0; i < stalled; i++) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, sockets[i].fd, NULL);
        sockets[i].stalled = 1;
    }
    for (int i = 0; !strncmp(line, "resume", 6) && i < count; i++)
        if (sockets[i].stalled) {
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = &sockets[i]};
            epoll_ctl(epoll, EPOLL_CTL_ADD, sockets[i].fd, &event);
            sockets[i].stalled = 0;
        }
    return 1;
}

static void client(int port, int count, int selective) {
    Socket *sockets = calloc(count, sizeof *sockets);
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    const char *hello = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
    for (int i = 0; i < count; i++) {
        int fd = connect_to(port);
        if (send(fd, hello, strlen(hello), 0) < 0) die("send");
        read_until(fd, "\r\n\r\n");
        subscribe(fd, i, selective);
        read_until(fd, "\"subscribed\"");
        sockets[i] = (Socket){.fd = fd, .hash = SEED};
        event.data.ptr = &sockets[i];
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
    setvbuf(stdin, NULL, _IONBF, 0);
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    event.data.ptr = NULL;
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &event);
    printf("ready\n");
    for (;;) {
        if (expected && total >= expected) {
            printf("done %lu\n", total);
            expected = 0;
        }
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (!events[i].data.ptr) {
                if (!command(sockets, count, epoll)) return;
            } else
                readable(events[i].data.ptr);
        }
    }
}

/* Answers handshakes and subscriptions, then on stdin: `send N EVERY_US` sends N frames to each socket. */
static void server(int port, int count) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1, *fds = calloc(count, sizeof *fds);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128)) die("bind");
    printf("listening\n");
    fflush(stdout);
    const char *welcome = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
    const char *ack = "\x81\x15{\"type\":\"subscribed\"}";
    for (int i = 0; i < count; i++) {
        fds[i] = accept(listener, NULL, NULL);
        setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        read_until(fds[i], "\r\n\r\n");
        if (send(fds[i], welcome, strlen(welcome), 0) < 0) die("send");
        if (recv(fds[i], buffer, BUFFER, 0) <= 0 || send(fds[i], ack, strlen(ack), 0) < 0) die("subscribe");
    }
    static unsigned char frame[4 + 414];
    memset(frame, 'x', sizeof frame);
    memcpy(frame, "\x81\x7e\x01\x9e{\"type\":\"alert\"", 19);
    long messages, every_us;
    while (scanf(" send %ld %ld", &messages, &every_us) == 2) {
        struct timespec next;
        clock_gettime(CLOCK_MONOTONIC, &next);
        for (long m = 0; m < messages; m++) {
            if (every_us) {
                next.tv_nsec += every_us * 1000;
                for (; next.tv_nsec >= 1000000000; next.tv_sec++) next.tv_nsec -= 1000000000;
                clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
            }
            for (int i = 0; i < count; i++)
                if (send(fds[i], frame, sizeof frame, MSG_NOSIGNAL) < 0) die("send");
        }
    }
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "client")) client(atoi(argv[2]), atoi(argv[3]), !strcmp(argv[4], "selective"));
    else if (argc == 4 && !strcmp(argv[1], "server")) server(atoi(argv[2]), atoi(argv[3]));
    else return fprintf(stderr, "see the top of load.c\n"), 2;
    return 0;
}
