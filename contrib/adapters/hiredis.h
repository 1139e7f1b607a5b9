/* hiredis over leased connections.
 *
 *     cc program.c $(pkg-config --cflags --libs berth hiredis)
 *
 *     berth_hiredis redis;
 *     if (berth_hiredis_lease(session, "redis", NULL, &redis) < 0) return complain(berth_error());
 *     redisReply *reply = redisCommand(redis.context, "INCR %s", "visits");
 *     ...
 *     berth_hiredis_release(&redis);
 *
 * The context is a blocking one. It belongs to the lease: neither redisFree() nor redisReconnect()
 * it. Login and database are the pool's; what SELECT, WATCH, SUBSCRIBE and the like leave behind is
 * left to the next holder unless the pool's `reset` has RESET, or the lease is discarded.
 *
 * For C99 and later. This header needs nothing but <berth/berth.h> and hiredis.
 */
#ifndef BERTH_HIREDIS_H
#define BERTH_HIREDIS_H

#include <berth/berth.h>
#include <errno.h>
#include <hiredis/hiredis.h>
#include <hiredis/sds.h>
#include <string.h>
#include <unistd.h>

typedef struct berth_hiredis {
  redisContext* context; /* NULL: no lease */
  berth_session* session;
  berth_grant grant; /* its descriptor is the context's */
} berth_hiredis;

/* Leases as berth_lease(), and makes a context of it. On failure out->context is NULL. */
static inline int berth_hiredis_lease(berth_session* session, const char* key,
                                      const berth_options* options, berth_hiredis* out) {
  int result;
  memset(out, 0, sizeof *out);
  out->session = session;
  result = berth_lease(session, key, options, &out->grant);
  if (result < 0) return result;
  if (out->grant.fd < 0) { /* a bare slot */
    berth_release(session, &out->grant, BERTH_REUSE);
    return -EINVAL;
  }
  out->context = redisConnectFd(out->grant.fd);
  if (out->context != NULL) return 0;
  berth_release(session, &out->grant, BERTH_REUSE);
  return -ENOMEM;
}

/* Whether anything is known that speaks against reuse: an error or a timeout, which hiredis cannot
 * go on after; a command that was appended and not sent; a reply, or part of one, that was received
 * and not taken. */
static inline int berth_hiredis_in_doubt(const redisContext* context) {
  const redisReader* reader = context->reader;
  return context->err != 0 || sdslen(context->obuf) != 0 || reader->err != 0 ||
         reader->ridx != -1 || reader->pos != reader->len;
}

/* The end of a lease, as berth_release(); frees the context. */
static inline int berth_hiredis_end(berth_hiredis* redis, berth_outcome outcome) {
  int fd;
  if (redis->context == NULL) return -EINVAL;
  fd = redisFreeKeepFd(redis->context);
  redis->context = NULL;
  if (fd != redis->grant.fd) { /* closed, in spite of what is said above */
    if (fd >= 0) close(fd);
    redis->grant.fd = -1;
    outcome = BERTH_DISCARD;
  }
  return berth_release(redis->session, &redis->grant, outcome);
}

/* The exchange is finished: every command has had its reply, and so has everything that was
 * appended with redisAppendCommand(). Discards all the same if anything speaks against it. */
static inline int berth_hiredis_release(berth_hiredis* redis) {
  const int keep = redis->context != NULL && !berth_hiredis_in_doubt(redis->context);
  return berth_hiredis_end(redis, keep ? BERTH_REUSE : BERTH_DISCARD);
}

/* It is not, or nobody knows. */
static inline int berth_hiredis_discard(berth_hiredis* redis) {
  return berth_hiredis_end(redis, BERTH_DISCARD);
}

#endif
