/* libcurl over leased connections, from libcurl 7.66 on.
 *
 *     cc program.c $(pkg-config --cflags --libs berth libcurl)
 *
 *     curl_easy_setopt(easy, CURLOPT_URL, "http://www.example.org/");
 *     if (berth_curl_perform(easy, session, "web", NULL) != CURLE_OK) ...
 *
 * berth_curl_perform() stands in for curl_easy_perform(): it leases, transfers, and gives the
 * connection back. For reuse if libcurl itself would go on using it, which it does only after a
 * transfer that both sides finished, and if it spoke HTTP/1.1 and asked for no login; else it is
 * discarded.
 *
 * The host in the URL is what the server is told in Host, and need not resolve: where the server is
 * the pool says. Hence a redirect is not followed, as it may lead elsewhere; nor is a proxy used.
 *
 * For C99 and later. This header needs nothing but <berth/berth.h> and libcurl.
 */
#ifndef BERTH_CURL_H
#define BERTH_CURL_H

#include <berth/berth.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* libcurl 7.88 connects again what it was told is connected. There it is given a socket that can be
 * connected, to one that nobody reads, and the leased one takes its place before anything is sent.
 */
#define BERTH_CURL_HAS_PREREQ (LIBCURL_VERSION_NUM >= 0x075000)

typedef struct berth_curl_transfer {
  berth_session* session;
  const char* key;
  const berth_options* options;
  berth_grant grant;
  curl_socket_t fd; /* what libcurl has: the grant's, or a duplicate */
  int decoy;        /* -1: none is needed */
  int finished;
} berth_curl_transfer;

static inline curl_socket_t berth_curl_open(void* data, curlsocktype purpose,
                                            struct curl_sockaddr* address) {
  berth_curl_transfer* transfer = (berth_curl_transfer*)data;
  berth_grant* grant = &transfer->grant;
  if (purpose != CURLSOCKTYPE_IPCXN || grant->id != 0) return CURL_SOCKET_BAD;
  if (berth_lease(transfer->session, transfer->key, transfer->options, grant) < 0) {
    return CURL_SOCKET_BAD;
  }
  transfer->fd = grant->fd;
  if (transfer->decoy >= 0) {
    transfer->fd = socket(address->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  }
  if (grant->fd >= 0 && transfer->fd >= 0) return transfer->fd;
  berth_release(transfer->session, grant, BERTH_REUSE); /* a bare slot, or too many files */
  return CURL_SOCKET_BAD;
}

static inline int berth_curl_opened(void* data, curl_socket_t fd, curlsocktype purpose) {
  (void)fd, (void)purpose;
  return ((berth_curl_transfer*)data)->decoy >= 0 ? CURL_SOCKOPT_OK
                                                  : CURL_SOCKOPT_ALREADY_CONNECTED;
}

#if BERTH_CURL_HAS_PREREQ
static inline int berth_curl_ready(void* data, char* there, char* here, int port, int local_port) {
  const berth_curl_transfer* transfer = (const berth_curl_transfer*)data;
  (void)there, (void)here, (void)port, (void)local_port;
  if (transfer->decoy < 0) return CURL_PREREQFUNC_OK;
  if (dup2(transfer->grant.fd, transfer->fd) < 0 || fcntl(transfer->fd, F_SETFD, FD_CLOEXEC) < 0 ||
      fcntl(transfer->fd, F_SETFL, O_NONBLOCK) < 0) {
    return CURL_PREREQFUNC_ABORT;
  }
  return CURL_PREREQFUNC_OK;
}
#endif

static inline int berth_curl_close(void* data, curl_socket_t fd) {
  berth_curl_transfer* transfer = (berth_curl_transfer*)data;
  if (fd != transfer->grant.fd) close(fd);
  if (fd == transfer->fd) {
    berth_release(transfer->session, &transfer->grant,
                  transfer->finished ? BERTH_REUSE : BERTH_DISCARD);
  }
  return 0;
}

/* Writes the name, in the abstract namespace, of where libcurl is to connect. -1: it cannot be. */
static inline int berth_curl_make_decoy(berth_curl_transfer* transfer, char name[8]) {
  const unsigned version = curl_version_info(CURLVERSION_NOW)->version_num;
  struct sockaddr_un address;
  socklen_t size = sizeof address;
  strcpy(name, "berth"); /* nothing is dialled there */
  if (version < 0x075800 || version >= 0x080000) return 0;
  memset(&address, 0, sizeof address);
  address.sun_family = AF_UNIX;
  transfer->decoy = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (transfer->decoy < 0 || /* the kernel finds a name, of five digits */
      bind(transfer->decoy, (struct sockaddr*)&address, sizeof address.sun_family) < 0 ||
      getsockname(transfer->decoy, (struct sockaddr*)&address, &size) < 0) {
    return -1;
  }
  size -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
  if (size >= 8) return -1;
  memcpy(name, address.sun_path + 1, size);
  name[size] = '\0';
  return 0;
}

/* The options that a transfer needs; without one, an end to those that would outlive it. */
static inline CURLcode berth_curl_set(CURL* easy, berth_curl_transfer* transfer,
                                      const char* address) {
  const int on = transfer != NULL;
  CURLcode code = CURLE_OK;
#define BERTH_CURL_SET(option, value) \
  if (code == CURLE_OK) code = curl_easy_setopt(easy, option, value)
  BERTH_CURL_SET(CURLOPT_OPENSOCKETFUNCTION, on ? berth_curl_open : NULL);
  BERTH_CURL_SET(CURLOPT_OPENSOCKETDATA, transfer);
  BERTH_CURL_SET(CURLOPT_SOCKOPTFUNCTION, on ? berth_curl_opened : NULL);
  BERTH_CURL_SET(CURLOPT_SOCKOPTDATA, transfer);
  BERTH_CURL_SET(CURLOPT_CLOSESOCKETFUNCTION, on ? berth_curl_close : NULL);
  BERTH_CURL_SET(CURLOPT_CLOSESOCKETDATA, transfer);
#if BERTH_CURL_HAS_PREREQ
  BERTH_CURL_SET(CURLOPT_PREREQFUNCTION, on ? berth_curl_ready : NULL);
  BERTH_CURL_SET(CURLOPT_PREREQDATA, transfer);
#endif
  BERTH_CURL_SET(CURLOPT_ABSTRACT_UNIX_SOCKET, address); /* needs no name server */
#if LIBCURL_VERSION_NUM >= 0x075500
  BERTH_CURL_SET(CURLOPT_PROTOCOLS_STR, "http");
#else
  BERTH_CURL_SET(CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTP);
#endif
  BERTH_CURL_SET(CURLOPT_SHARE, (CURLSH*)NULL);
  BERTH_CURL_SET(CURLOPT_PROXY, "");
  BERTH_CURL_SET(CURLOPT_FOLLOWLOCATION, 0L);
  BERTH_CURL_SET(CURLOPT_CONNECT_ONLY, 0L);
#undef BERTH_CURL_SET
  return code;
}

static inline CURLcode berth_curl_transfer_all(CURLM* multi, CURL* easy) {
  CURLcode code = CURLE_FAILED_INIT;
  CURLMcode state;
  CURLMsg* message;
  int left = 1;
  do {
    state = curl_multi_perform(multi, &left);
    if (state == CURLM_OK && left > 0) state = curl_multi_poll(multi, NULL, 0, 1000, NULL);
  } while (state == CURLM_OK && left > 0);
  while ((message = curl_multi_info_read(multi, &left)) != NULL) {
    if (message->msg == CURLMSG_DONE && message->easy_handle == easy) code = message->data.result;
  }
  return code;
}

/* Whether the server asked for a login. NTLM and Negotiate log the connection in. */
static inline int berth_curl_was_challenged(CURL* easy) {
#if LIBCURL_VERSION_NUM >= 0x075300
  struct curl_header* header;
  CURLHcode found = CURLHE_MISSING;
  int request;
  for (request = 0; found == CURLHE_MISSING; ++request) { /* from 0 to the last one */
    found = curl_easy_header(easy, "WWW-Authenticate", 0, CURLH_HEADER, request, &header);
  }
  return found != CURLHE_NOREQUEST && found != CURLHE_NOHEADERS;
#else
  long methods = 0;
  return curl_easy_getinfo(easy, CURLINFO_HTTPAUTH_AVAIL, &methods) != CURLE_OK || methods != 0;
#endif
}

/* Whether libcurl keeps the connection for a further transfer. */
static inline int berth_curl_would_reuse(CURL* easy, curl_socket_t fd) {
  curl_socket_t kept = CURL_SOCKET_BAD;
  long version = 0;
  return curl_easy_getinfo(easy, CURLINFO_ACTIVESOCKET, &kept) == CURLE_OK && kept == fd &&
         curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version) == CURLE_OK &&
         version == CURL_HTTP_VERSION_1_1 && !berth_curl_was_challenged(easy);
}

/* One transfer of `easy`, whose URL begins with http://, over a lease of `key`. `options` are
 * berth_lease()'s and may be NULL: they bound the wait for the lease, which libcurl's own timeouts
 * do not. Where no lease was to be had the result is CURLE_COULDNT_CONNECT, and berth_error() says
 * why. Stay set on the handle: no proxy, no share, no redirects, http only. */
static inline CURLcode berth_curl_perform(CURL* easy, berth_session* session, const char* key,
                                          const berth_options* options) {
  berth_curl_transfer transfer = {session, key, options, {0, -1, 0}, -1, -1, 0};
  char address[8];
  CURLM* multi = curl_multi_init(); /* its own cache of connections, which ends with it */
  CURLcode code = CURLE_FAILED_INIT;
  if (multi != NULL && berth_curl_make_decoy(&transfer, address) == 0) {
    code = berth_curl_set(easy, &transfer, address);
  }
  if (code == CURLE_OK) {
    if (curl_multi_add_handle(multi, easy) == CURLM_OK) {
      code = berth_curl_transfer_all(multi, easy);
      transfer.finished = code == CURLE_OK && berth_curl_would_reuse(easy, transfer.fd);
      curl_multi_remove_handle(multi, easy);
    } else {
      code = CURLE_FAILED_INIT;
    }
  }
  if (multi != NULL) curl_multi_cleanup(multi); /* closes the connection: berth_curl_close() */
  berth_curl_set(easy, NULL, NULL);
  if (transfer.decoy >= 0) close(transfer.decoy);
  return code;
}

#endif
