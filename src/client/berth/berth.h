/* libberth: lease warm connections from berthd.
 *
 * A session is this process's connection to berthd. berth_lease() hands over a connected socket:
 * a plain file descriptor that the caller owns, CLOEXEC and blocking. From then on its bytes flow
 * between this process and the server alone. berth_release() gives the connection back.
 *
 *     berth_session *session;
 *     berth_grant grant;
 *     if (berth_session_open(NULL, &session) < 0 ||
 *         berth_lease(session, "redis", NULL, &grant) < 0) {
 *       fprintf(stderr, "%s\n", berth_error());
 *       return 1;
 *     }
 *     ... talk on grant.fd ...
 *     berth_release(session, &grant, BERTH_REUSE);
 *     berth_session_close(session);
 *
 * Errors.   Functions that return int or ssize_t return a negative errno value when they fail, and
 *           berth_error() says why in words. No function sets errno on purpose. Where an argument
 *           is NULL that must not be, -EINVAL is all that happens: nothing is written.
 *
 *             -EINVAL           an argument is wrong (INVALID)
 *             -EPROTONOSUPPORT  berthd and this library speak no common version
 *             -ENOENT           no such key; from berth_session_open: no socket there
 *             -EACCES           this process may not
 *             -ETIMEDOUT        no connection came free in time, or berthd did not answer
 *             -EAGAIN           too many wait already; try again later
 *             -EHOSTDOWN        the server cannot be reached
 *             -ESHUTDOWN        berthd is going away
 *             -ECANCELED        the request was withdrawn with berth_cancel()
 *             -ESTALE           no such lease, or released already
 *             -EOWNERDEAD       berthd took the lease away
 *             -EUSERS           berthd holds no further sessions
 *             -EIO              a fault of berthd; its log has more
 *             -ENXIO            an administrator has disabled the pool
 *             -ECONNRESET       the session has ended, and its leases with it
 *             -ECONNREFUSED     berthd does not run (berth_session_open)
 *             -EPERM            the session was opened by another process (see Fork)
 *             -EMFILE           this process has no descriptors left; the session lives
 *             -EPROTO           what berthd sent makes no sense; ends the session
 *             -ENOMEM           out of memory
 *
 * The end.  Once a session has ended, what leases, releases, lists or submits on it returns the
 *           end's error: -ECONNRESET, or -EPROTO or -ENOMEM. Leases are still to be released, which
 *           closes their descriptors, and the session is still to be closed.
 * Threads.  All functions may be called by any thread, and many threads may share a session, but
 *           berth_session_close() must be a session's last call. A thread that waits for a lease
 *           never blocks one that releases.
 * Signals.  Waiting calls go on after a signal handler returns. SIGPIPE is never raised.
 * Fork.     A session belongs to the process that opened it. In a child its calls are refused with
 *           -EPERM, but for berth_session_close(), which closes the child's copy of the socket and
 *           nothing else; it frees no memory, which another thread may have been changing at the
 *           fork. Leased descriptors pass to children as any other does.
 * Fibres and event loops: see "Without waiting" below.
 */
#ifndef BERTH_BERTH_H
#define BERTH_BERTH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BERTH_API __attribute__((visibility("default")))

/* The most connections that one request may ask for. */
#define BERTH_MAX_COUNT 64

typedef struct berth_session berth_session;

/* berth.v1.Code, the one error enum of berth. */
typedef enum berth_code {
  BERTH_OK = 0,
  BERTH_INVALID = 1,
  BERTH_VERSION_MISMATCH = 2,
  BERTH_NO_SUCH_KEY = 3,
  BERTH_NOT_PERMITTED = 4,
  BERTH_TIMED_OUT = 5,
  BERTH_QUEUE_FULL = 6,
  BERTH_UPSTREAM_DOWN = 7,
  BERTH_SHUTTING_DOWN = 8,
  BERTH_CANCELLED = 9,
  BERTH_NO_SUCH_LEASE = 10,
  BERTH_REVOKED = 11,
  BERTH_TOO_MANY_SESSIONS = 12,
  BERTH_INTERNAL = 13,
  BERTH_DISABLED = 14
} berth_code;

/* What a request waited for, beyond what its code says. */
typedef enum berth_cause {
  BERTH_CAUSE_UNSPECIFIED = 0,
  BERTH_CAUSE_EXHAUSTED = 1,     /* every connection that max_connections allows is leased */
  BERTH_CAUSE_UPSTREAM_DOWN = 2, /* dials fail or do not finish */
  BERTH_CAUSE_PAUSED = 3,        /* the pool is paused */
  BERTH_CAUSE_NO_SLOTS = 4,      /* berthd has no file descriptors left */
  BERTH_CAUSE_QUEUE_FULL = 5     /* max_waiters requests wait already */
} berth_cause;

#define BERTH_MAX_HOLDERS 5

typedef struct berth_holder {
  uint32_t pid; /* 0 where it is in another pid namespace */
  uint32_t uid;
  uint64_t held_ms;
  const char* command; /* as in /proc/PID/comm */
} berth_holder;

typedef struct berth_why {
  berth_cause cause;
  unsigned leased;             /* connections of the pool that are leased */
  unsigned max_connections;    /* 0: unlimited */
  unsigned waiting;            /* requests that wait, this one included */
  uint64_t dial_failures;      /* since the last dial that succeeded */
  const char* last_dial_error; /* "" if there is none */
  unsigned holder_count;
  berth_holder holders[BERTH_MAX_HOLDERS]; /* those who have held leases longest, first */
} berth_why;

/* How a connection comes back. */
typedef enum berth_outcome {
  BERTH_DISCARD = 0, /* broken, or its state is unknown: berthd closes it */
  BERTH_REUSE = 1    /* the exchange is finished: another may have the connection */
} berth_outcome;

/* One lease. The caller owns fd until berth_release() closes it. A lease of a slot has none: it is
 * the right to open a descriptor of one's own, counted in berthd's budget, until berth_release().
 * A detached connection is no lease: fd is the caller's for good, to be closed with close(2).
 */
typedef struct berth_grant {
  uint64_t id;     /* never 0 for a lease; never used twice. 0: no lease, or detached.
                      BERTH_FALLBACK: berthd was absent, see berth_options */
  int fd;          /* connected, blocking, CLOEXEC; -1: no lease, or a slot's */
  unsigned reused; /* 1: the connection has been leased before; 0: it is new */
} berth_grant;

/* The id of what libberth has dialled itself; see berth_options.fallback. */
#define BERTH_FALLBACK UINT64_MAX

/* What a request may say. Begin with BERTH_OPTIONS_INIT, so that later versions can add to it. */
typedef struct berth_options {
  size_t size;             /* sizeof(berth_options) of the caller */
  int64_t timeout_ms;      /* how long the request may wait; -1: the pool's acquire_timeout, which
                              berthd alone keeps; 0: only what is there at once. A timeout is kept
                              within 2 s even if berthd hangs; -1 is not */
  const char* traceparent; /* W3C trace context, at most 128 bytes; NULL: none */
  unsigned detach;         /* 1: for good. The connections leave berthd's pool and its limits, and
                              live on after the session; there is nothing to release */
  const char* fallback;    /* a server to dial where berthd is absent: tcp://HOST:PORT or
                              unix:///PATH; NULL: none. See berth_lease() */
} berth_options;

/* clang-format off */
#define BERTH_OPTIONS_INIT { sizeof(berth_options), -1, NULL, 0, NULL }
/* clang-format on */

/* ---- sessions ---- */

/* Opens a session and waits for berthd's welcome, at most 5 s. `path` is a lease socket; NULL:
 * $BERTH_SOCKET, else $XDG_RUNTIME_DIR/berth/lease.sock if it exists, else
 * /run/berth/lease.sock. *out is NULL on failure. */
BERTH_API int berth_session_open(const char* path, berth_session** out);

/* The same under a name for those who look at berthd; NULL: the program's. Cut at 64 bytes. */
BERTH_API int berth_session_open_named(const char* path, const char* name, berth_session** out);

/* Ends the session: what is still leased is discarded, though its descriptors stay open and are
 * the caller's to close. NULL is allowed. */
BERTH_API void berth_session_close(berth_session* session);

/* The session's number in berthd's logs and listings; 0 for NULL. */
BERTH_API uint64_t berth_session_id(const berth_session* session);

/* ---- leases, waiting ---- */

/* Leases one connection of `key`. `options` may be NULL. On failure out->fd is -1 and out->id 0,
 * unless an argument was NULL.
 *
 * With options->fallback the program goes on without berthd: where berthd is absent, which is when
 * berth_absent() says so, the call dials that server itself, within the timeout (-1: 5 s; looking a
 * name up has the time of the C library's). `session` may be NULL then: berthd was absent when it
 * was to be opened. The connection is plain: berthd knows nothing of it, and neither checks, login
 * nor limits of the pool count. Its id is BERTH_FALLBACK, or 0 with `detach`; berth_release() closes
 * it. berth_error() says why berthd was absent, for the log. Nothing that berthd refuses is dialled.
 *   -EHOSTDOWN    berthd is absent, and the server cannot be reached either
 *   -ETIMEDOUT    nor in time */
BERTH_API int berth_lease(berth_session* session, const char* key, const berth_options* options,
                          berth_grant* out);

/* How many connections this process has dialled as fallbacks. */
BERTH_API uint64_t berth_fallbacks(void);

/* Leases n connections of `key` (1 to BERTH_MAX_COUNT), all or none, into out[0] to out[n-1]; on
 * failure each is as berth_lease() leaves it. */
BERTH_API int berth_lease_many(berth_session* session, const char* key, unsigned n,
                               const berth_options* options, berth_grant out[]);

/* Gives a lease back: closes grant->fd, then tells berthd without waiting for an answer, and sets
 * fd to -1 and id to 0. Stop asynchronous I/O on the descriptor and take it out of epoll sets
 * before; close duplicates of it yourself. May wait while berthd is behind in reading. If berthd is
 * gone it reads what came before that, without waiting, to tell why. A fallback is only closed;
 * `session` may be NULL then.
 *   -EINVAL      the grant holds no lease (released already through this struct, or detached);
 *                nothing done
 *   -ESTALE      this session holds no such lease (released through a copy); nothing done, not
 *                even a close
 *   -EOWNERDEAD  berthd had taken the lease away; the descriptor is closed
 *   -ECONNRESET  the session has ended, and the lease with it (or -EPROTO or -ENOMEM, see "The
 *                end" above); the descriptor is closed */
BERTH_API int berth_release(berth_session* session, berth_grant* grant, berth_outcome outcome);

/* Calls each(key, arg) for every key that this session may lease, sorted, asking berthd for a page
 * at a time. A result of each() other than 0 ends the listing. `key` lives until each() returns.
 * Returns the number of calls. */
BERTH_API int berth_keys(berth_session* session, int (*each)(const char* key, void* arg),
                         void* arg);

/* ---- without waiting, for event loops ----
 *
 * Poll berth_session_fd() for POLLIN (level-triggered, or call until 0), then call
 * berth_next_event() until it returns 0. Each submitted request gets exactly one event: GRANTED
 * or REFUSED; each submitted release exactly one RELEASED. When the session ends, those without an
 * event get theirs (REFUSED or RELEASED with the end's error), then comes one CLOSED.
 *
 * A waiting call on the same session may read events on its way; they do not show in poll() then,
 * so call berth_next_event() until 0 after each waiting call, or give each form its own session.
 * berth_release() reads only once berthd is gone, which poll() goes on showing: it mixes freely. */

typedef enum berth_event_kind {
  BERTH_EVENT_GRANTED = 1,  /* request_id, count, grants: the caller owns the descriptors */
  BERTH_EVENT_REFUSED = 2,  /* request_id, error, code, message */
  BERTH_EVENT_RELEASED = 3, /* request_id; error is 0 or -ESTALE; code, message */
  BERTH_EVENT_REVOKED = 4,  /* lease_id, error, code, message; berth_release() is still due */
  BERTH_EVENT_CLOSED = 5    /* error, code, message: the session has ended; close it */
} berth_event_kind;

typedef struct berth_event {
  size_t size; /* set before the call: sizeof(berth_event) of the caller */
  berth_event_kind kind;
  int error; /* 0 or negative errno */
  berth_code code;
  unsigned count;
  uint64_t request_id;
  uint64_t lease_id;
  const char* message;  /* "" if there is none; until this thread's next call of libberth */
  const berth_why* why; /* REFUSED: what it waited for, where berthd told; else NULL. As message */
  berth_grant grants[BERTH_MAX_COUNT];
} berth_event;

/* The descriptor to poll. Poll it, and do nothing else with it; it closes with the session. */
BERTH_API int berth_session_fd(const berth_session* session);

/* Sends a request for n connections, without a fallback (-EINVAL); *request_id, written on success only, names its event.
 * -EAGAIN: berthd is behind in reading, nothing was sent; try again when the descriptor is
 * writable. */
BERTH_API int berth_submit(berth_session* session, const char* key, unsigned n,
                           const berth_options* options, uint64_t* request_id);

/* As berth_release(), errors included, with a RELEASED event that tells whether berthd knew the
 * lease. After an error there is no event; after -EAGAIN, as above, the grant is untouched. */
BERTH_API int berth_submit_release(berth_session* session, berth_grant* grant,
                                   berth_outcome outcome, uint64_t* request_id);

/* Withdraws a submitted request. Its one event still comes: REFUSED with -ECANCELED, or GRANTED if
 * the grant was under way; then release it. -ESTALE: it has its event already. -EAGAIN as
 * above. */
BERTH_API int berth_cancel(berth_session* session, uint64_t request_id);

/* 1: *out is the next event. 0: none now. Negative: the call itself is wrong, or the session's end
 * after CLOSED. *out is written with 1 only. */
BERTH_API int berth_next_event(berth_session* session, berth_event* out);

/* ---- reading and writing ---- */

/* read(2) for leased sockets, with kernel TLS or without: where read(2) fails with EIO because a
 * TLS record that is not data has come, this takes the record. The server's close_notify gives 0,
 * as the end of the stream does; a renegotiation request or a session ticket is skipped; any other
 * alert gives -EPROTO. As read(2) it returns -EINTR after a signal, and -EAGAIN on a descriptor
 * that was made non-blocking; these two without words. One reader at a time. */
BERTH_API ssize_t berth_read(int fd, void* buffer, size_t size);

/* shutdown(fd, SHUT_WR) for leased sockets: under kernel TLS it sends close_notify first. The
 * connection cannot be released for reuse after it. */
BERTH_API int berth_shutdown_write(int fd);

/* ---- errors and version ---- */

/* This thread's last error in words, without a newline; "" if there was none. A success does not
 * clear it, so look at results first; but the message of an event replaces it. The text lives until
 * the thread's next call of libberth. */
BERTH_API const char* berth_error(void);

/* 1: this thread's last error was that no berthd is there: none runs (berth_session_open), the
 * session has ended because berthd did or stops, or berthd stops and leases no more. 0: any other.
 * What berthd refuses is no absence, nor is a berthd that does not answer. */
BERTH_API int berth_absent(void);

/* The Code of this thread's last error; an event has its own, and leaves this one alone. For an
 * error that berthd did not send, the Code nearest to it. */
BERTH_API berth_code berth_error_code(void);

/* What the request of this thread's last error waited for; NULL where there is nothing to tell
 * beyond its Code. Lives as berth_error() does, and the why of an event replaces it. */
BERTH_API const berth_why* berth_error_why(void);

/* The library's version, "MAJOR.MINOR.PATCH". */
BERTH_API const char* berth_version(void);

#ifdef __cplusplus
}
#endif

#endif
