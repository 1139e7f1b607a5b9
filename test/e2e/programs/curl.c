/* Makes transfers over leases of the key "web", and tells how each ended. */
#include <berth/curl.h>
#include <stdio.h>
#include <string.h>

static size_t refuse(char* data, size_t size, size_t count, void* context) {
  (void)data, (void)size, (void)count, (void)context;
  return 0;
}

static size_t no_end(char* data, size_t size, size_t count, void* context) {
  (void)context;
  memset(data, 'x', size * count);
  return size * count;
}

static void prepare(CURL* easy, const char* how) {
  if (strcmp(how, "head") == 0) {
    curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  } else if (strcmp(how, "post") == 0) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, "12345");
  } else if (strcmp(how, "upload") == 0) {
    curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(easy, CURLOPT_READFUNCTION, no_end);
  } else if (strcmp(how, "timeout") == 0) {
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 100L);
  } else if (strcmp(how, "refuse") == 0) {
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, refuse);
  } else if (strcmp(how, "1.0") == 0) {
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_0);
  } else if (strcmp(how, "follow") == 0) {
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  } else if (strcmp(how, "2") == 0) {
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2_0);
  }
}

static int lowest_free(void) {
  const int fd = dup(0);
  close(fd);
  return fd;
}

int main(int argc, char** argv) {
  berth_options options = BERTH_OPTIONS_INIT;
  berth_session* session;
  berth_grant grant;
  int i, before;
  options.timeout_ms = 2000;
  if (berth_session_open(NULL, &session) < 0) return 1;
  before = lowest_free();
  for (i = 2; i < argc; ++i) {
    CURL* easy = curl_easy_init();
    CURLcode code;
    curl_easy_setopt(easy, CURLOPT_URL, "http://www.example.org/");
    prepare(easy, argv[i]);
    code = berth_curl_perform(easy, session, argv[1], &options);
    printf("|%s %s\n", curl_easy_strerror(code),
           code == CURLE_COULDNT_CONNECT ? berth_error() : "");
    curl_easy_cleanup(easy);
  }
  if (lowest_free() != before) printf("descriptors were leaked\n");
  options.timeout_ms = 1000;
  if (berth_lease(session, "web", &options, &grant) == 0) {
    printf("%s\n", grant.reused ? "warm" : "new");
    berth_release(session, &grant, BERTH_REUSE);
  }
  berth_session_close(session);
  return 0;
}
