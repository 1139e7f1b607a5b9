/* Uses a leased connection to Redis in one way, gives it back, and tells what the next lease is. */
#include <berth/hiredis.h>
#include <poll.h>
#include <stdio.h>

static int fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, berth_error());
  return 1;
}

static void command(redisContext* context, const char* words) {
  redisReply* reply = redisCommand(context, words);
  if (reply == NULL) {
    printf("failed: %s\n", context->errstr);
  } else if (reply->type == REDIS_REPLY_INTEGER) {
    printf("%lld\n", reply->integer);
  } else {
    printf("%s\n", reply->str != NULL ? reply->str : "nil");
  }
  if (reply != NULL) freeReplyObject(reply);
}

static void take(redisContext* context) {
  void* reply = NULL;
  if (redisGetReply(context, &reply) == REDIS_OK) freeReplyObject(reply);
}

static void send_all(redisContext* context) {
  int done = 0;
  while (!done && redisBufferWrite(context, &done) == REDIS_OK) {
  }
}

static void use(redisContext* context, const char* how) {
  if (strcmp(how, "command") == 0) {
    command(context, "INCR visits");
  } else if (strcmp(how, "error") == 0) {
    command(context, "INCR");
  } else if (strcmp(how, "pipeline") == 0) {
    redisAppendCommand(context, "PING");
    redisAppendCommand(context, "PING");
    take(context);
    take(context);
  } else if (strcmp(how, "half a pipeline") == 0) {
    redisAppendCommand(context, "PING");
    redisAppendCommand(context, "PING");
    take(context); /* both replies were received */
  } else if (strcmp(how, "not sent") == 0) {
    redisAppendCommand(context, "PING");
  } else if (strcmp(how, "not received") == 0) {
    struct pollfd readable = {context->fd, POLLIN, 0};
    redisAppendCommand(context, "PING");
    send_all(context);
    poll(&readable, 1, 5000);
  } else if (strcmp(how, "half a reply") == 0) {
    void* reply = NULL;
    redisReaderFeed(context->reader, "*2\r\n+ONE\r\n", 10);
    redisReaderGetReply(context->reader, &reply);
  } else if (strcmp(how, "timeout") == 0) {
    const struct timeval soon = {0, 50000};
    redisSetTimeout(context, soon);
    command(context, "BLPOP nothing 30");
  } else if (strcmp(how, "hang up") == 0) {
    command(context, "CLIENT KILL TYPE normal SKIPME no");
    command(context, "PING");
  } else if (strcmp(how, "reconnect") == 0) {
    redisReconnect(context);
  }
}

int main(int argc, char** argv) {
  const char* how = argc > 1 ? argv[1] : "command";
  berth_session* session;
  berth_hiredis redis;
  if (berth_session_open(NULL, &session) < 0) return fail("open");
  if (berth_hiredis_lease(session, argc > 2 ? argv[2] : "redis", NULL, &redis) < 0) {
    return fail("lease");
  }
  use(redis.context, how);
  if (strcmp(how, "discard") == 0) {
    berth_hiredis_discard(&redis);
  } else if (berth_hiredis_release(&redis) < 0) {
    return fail("release");
  }
  if (berth_hiredis_lease(session, "redis", NULL, &redis) < 0) return fail("second lease");
  printf("%s\n", redis.grant.reused ? "warm" : "new");
  command(redis.context, "PING");
  berth_hiredis_release(&redis);
  berth_session_close(session);
  return 0;
}
