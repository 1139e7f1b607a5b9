#include "wire/tls_source.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <sstream>
#include <thread>

#include "base/limits.h"
#include "base/status_text.h"
#include "unit/wire/tls_pair.h"
#include "wire/tls_context.h"
#include "wire/tls_ticket.h"

namespace berth::wire {
namespace {

class Source : public ::testing::Test {
 protected:
  std::string problem(const TlsSettings& settings) const {
    TlsSource source(settings, kAllCiphers);
    const auto context = source.context();
    if (context.ok()) return "nothing";
    std::string text = text_of(context.status());
    for (size_t at; (at = text.find(files_.path(""))) != std::string::npos;) {
      text.erase(at, files_.path("").size());
    }
    return text;
  }
  TlsSettings mutual(const Identity& identity) const {
    TlsSettings settings = files_.settings();
    settings.certificate = files_.write("client.pem", identity.certificate);
    settings.private_key = files_.write("client.key", identity.key);
    return settings;
  }
  // Asks until it answers something else than `old`, as it looks at the files once in a second.
  static std::shared_ptr<const TlsContext> wait_for_other(
      TlsSource& source, const std::shared_ptr<const TlsContext>& old) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::shared_ptr<const TlsContext> context = old;
    while (context == old && std::chrono::steady_clock::now() < until) {
      context = *source.context();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return context;
  }
  static std::string wait_for_complaint(TlsSource& source) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    std::string complaint;
    while (complaint.empty() && std::chrono::steady_clock::now() < until) {
      EXPECT_TRUE(source.context().ok());
      complaint = source.take_complaint();
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return complaint;
  }
  bool trusts_the_server(const TlsSettings& settings) const {
    TlsService service({.identities = {server_identity()}});
    TlsEngine client(context_of(settings), "server.test", nullptr);
    TlsServer server(service);
    return shake_hands(client, server) == TlsEngine::Shake::done;
  }

  TlsFiles files_;
  const Identity us_ = authority().issue({.subject = "CN=us"});
};

// ---- whom it trusts ----

TEST_F(Source, TrustsAFolder) {
  const std::string folder = files_.path("trust");
  ::mkdir(folder.c_str(), 0755);
  EXPECT_EQ(problem({.ca = folder}),
            "ca: trust is a folder without files of certificates (*.pem, *.crt, or as openssl "
            "rehash names them)");
  files_.write("trust/README", authority().certificate());
  files_.write("trust/broken.pem", "nothing of use");
  EXPECT_EQ(problem({.ca = folder}), "ca: trust/broken.pem holds no certificate in PEM");
  for (const std::string name : {"a.pem", "a.crt", "0a1b2c3d.0"}) {
    SCOPED_TRACE(name);
    files_.write("trust/" + name, authority().certificate());
    EXPECT_TRUE(trusts_the_server({.ca = folder}));
    std::filesystem::remove(files_.path("trust/" + name));
  }
  ::symlink(files_.path("ca.pem").c_str(), (folder + "/link.pem").c_str());
  EXPECT_TRUE(trusts_the_server({.ca = folder}));
}

TEST_F(Source, TrustsAFileOfSeveralEvenIfOneCannotBeParsed) {
  const Identity odd =
      authority().issue({.subject = "CN=odd", .authority = true, .critical_extension = true});
  EXPECT_TRUE(problem({.ca = files_.write("odd.pem", odd.certificate)})
                  .starts_with("ca: odd.pem holds a certificate that cannot be parsed: "));
  EXPECT_TRUE(trusts_the_server(
      {.ca = files_.write("two.pem", odd.certificate + authority().certificate())}));
}

TEST_F(Source, TellsWhatIsWrongWithAFileOfAuthorities) {
  EXPECT_EQ(problem({.ca = files_.path("none.pem")}),
            "ca: none.pem cannot be read: No such file or directory");
  EXPECT_EQ(problem({.ca = files_.write("empty.pem", "")}),
            "ca: empty.pem holds no certificate in PEM");
  EXPECT_EQ(problem({.ca = files_.write("key.pem", us_.key)}),
            "ca: key.pem holds no certificate in PEM");
  EXPECT_EQ(problem({.ca = "/dev/null"}), "ca: /dev/null is not a regular file");
  EXPECT_EQ(
      problem({.ca = files_.write("long.pem", std::string(kMaxCertificateFileBytes + 1, '?'))}),
      "ca: long.pem is longer than a file of certificates may be, 4194304 bytes");
}

TEST_F(Source, SharesWhatItTrustsWithOthers) {
  const auto one = TlsTrust::of(files_.path("ca.pem"));
  const auto same = TlsTrust::of(files_.path("ca.pem"));
  ASSERT_TRUE(one.ok() && same.ok());
  EXPECT_EQ(*one, *same);
  files_.write("ca.pem", Authority("CN=Other").certificate());
  const auto other = TlsTrust::of(files_.path("ca.pem"));
  ASSERT_TRUE(other.ok());
  EXPECT_NE(*one, *other);
}

TEST_F(Source, KnowsTheAuthoritiesOfTheSystem) {
  if (::access("/etc/ssl/certs/ca-certificates.crt", R_OK) != 0) {
    EXPECT_EQ(problem({}),
              "ca: /etc/ssl/certs/ca-certificates.crt cannot be read: No such file or directory; "
              "Debian's package ca-certificates makes that file, or name another one");
    return;
  }
  EXPECT_EQ(problem({}), "nothing");
}

// ---- who we are ----

TEST_F(Source, TakesACertificateWithItsKey) {
  EXPECT_EQ(problem(mutual(us_)), "nothing");
  EXPECT_EQ(problem(mutual(authority().issue({.rsa = true}))), "nothing");
  TlsSettings in_one_file = files_.settings();
  in_one_file.certificate = in_one_file.private_key =
      files_.write("both.pem", us_.certificate + us_.key);
  EXPECT_EQ(problem(in_one_file), "nothing");
}

TEST_F(Source, TellsWhatIsWrongWithACertificate) {
  TlsSettings settings = mutual(us_);
  files_.write("client.pem", "?");
  EXPECT_EQ(problem(settings), "certificate: client.pem holds no certificate in PEM");
  settings.certificate = files_.path("none.pem");
  EXPECT_EQ(problem(settings), "certificate: none.pem cannot be read: No such file or directory");
}

TEST_F(Source, TellsWhatIsWrongWithAKey) {
  TlsSettings settings = mutual(us_);
  files_.write("client.key", authority().issue({}).key);
  EXPECT_EQ(problem(settings),
            "private_key: client.key does not fit the first certificate in client.pem, which is "
            "that of \"CN=us\"; it must hold the key of that one");
  files_.write("client.key", authority().issue({.rsa = true}).key);
  EXPECT_TRUE(problem(settings).starts_with("private_key: client.key does not fit"));
  files_.write("client.key", us_.certificate);
  EXPECT_EQ(problem(settings),
            "private_key: client.key holds no private key in PEM, or one of "
            "another kind than RSA or ECDSA");
  files_.write("client.key",
               "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIA=\n"
               "-----END ENCRYPTED PRIVATE KEY-----\n");
  EXPECT_EQ(problem(settings),
            "private_key: client.key is encrypted with a passphrase, which is not supported; it "
            "must hold the key as it is, in a file that only its owner can read");
  files_.write("client.key", us_.key);
  ::chmod(files_.path("client.key").c_str(), 0644);
  EXPECT_EQ(problem(settings),
            "private_key: client.key is open to all (mode 0644); it must be "
            "0600 or less, or 0640 for a group that may read it");
}

// The pages that the kernel leaves out of core dumps, as addresses.
std::vector<std::pair<uintptr_t, uintptr_t>> pages_out_of_dumps() {
  std::vector<std::pair<uintptr_t, uintptr_t>> found;
  std::ifstream maps("/proc/self/smaps");
  uintptr_t begin = 0;
  uintptr_t end = 0;
  for (std::string line; std::getline(maps, line);) {
    char dash = 0;
    uintptr_t from = 0;
    uintptr_t to = 0;
    std::istringstream words(line);
    if (words >> std::hex >> from >> dash >> to && dash == '-') std::tie(begin, end) = {from, to};
    if (line.starts_with("VmFlags:") && (line + " ").find(" dd ") != std::string::npos) {
      found.emplace_back(begin, end);
    }
  }
  return found;
}

TEST_F(Source, KeepsThePrivateKeyOutOfCoreDumps) {
  for (const bool rsa : {false, true}) {
    const TlsSettings settings = mutual(authority().issue({.rsa = rsa}));
    const auto identity = TlsIdentity::of(settings.certificate, settings.private_key);
    ASSERT_TRUE(identity.ok()) << identity.status();
    const mbedtls_pk_context& key = *(*identity)->key();
    const mbedtls_mpi& secret = rsa ? mbedtls_pk_rsa(key)->D : mbedtls_pk_ec(key)->d;
    const auto begin = reinterpret_cast<uintptr_t>(secret.p);
    const auto end = reinterpret_cast<uintptr_t>(secret.p + secret.n);
    bool covered = false;
    for (const auto& [from, to] : pages_out_of_dumps()) covered |= from <= begin && end <= to;
    EXPECT_TRUE(covered) << (rsa ? "RSA" : "ECDSA");
  }
}

// ---- changes ----

TEST_F(Source, ReadsFilesAgainOnceTheyHaveChanged) {
  TlsSource source(mutual(us_), kAllCiphers);
  const auto first = *source.context();
  ASSERT_NE(first, nullptr);
  EXPECT_EQ(*source.context(), first);
  const Identity renewed = authority().issue({.subject = "CN=us again"});
  files_.write("client.key", renewed.key);
  files_.write("client.pem", renewed.certificate);
  const auto second = wait_for_other(source, first);
  EXPECT_NE(second, first);
  EXPECT_EQ(*source.context(), second);
}

TEST_F(Source, GoesOnWithWhatItHasWhileAFileIsBrokenAndComplainsOnce) {
  TlsSource source(mutual(us_), kAllCiphers);
  const auto first = *source.context();
  EXPECT_EQ(source.take_complaint(), "");
  files_.write("client.pem", "broken");
  EXPECT_EQ(wait_for_complaint(source),
            "certificate: " + files_.path("client.pem") +
                " holds no certificate in PEM; what was read before goes on being used");
  EXPECT_EQ(*source.context(), first);
  EXPECT_EQ(source.take_complaint(), "");
  files_.write("client.pem", us_.certificate);
  EXPECT_NE(wait_for_other(source, first), first);
  EXPECT_EQ(source.take_complaint(), "");
}

TEST_F(Source, RecoversFromFilesThatWereWrongAtFirst) {
  TlsSettings settings = mutual(us_);
  ::chmod(settings.private_key.c_str(), 0666);
  TlsSource source(settings, kAllCiphers);
  EXPECT_FALSE(source.context().ok());
  EXPECT_FALSE(source.context().ok());
  ::chmod(settings.private_key.c_str(), 0600);
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!source.context().ok() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_TRUE(source.context().ok());
  EXPECT_EQ(source.take_complaint(), "");
}

// ---- sessions ----

TEST_F(Source, KeepsTheLastSessionOfEachServerUpToABound) {
  TlsSource source(files_.settings(), kAllCiphers);
  const auto context = *source.context();
  const auto ticket = [&] { return std::make_shared<TlsSource::Ticket>(context, "server.test"); };
  EXPECT_EQ(source.ticket("0"), nullptr);
  const auto newest = ticket();
  source.keep("0", ticket());
  source.keep("0", newest);
  EXPECT_EQ(source.ticket("0"), newest);
  for (size_t i = 1; i < kMaxTlsTickets; ++i) source.keep(std::to_string(i), ticket());
  EXPECT_NE(source.ticket("0"), nullptr);
  source.keep("one more", ticket());
  EXPECT_EQ(source.ticket("0"), nullptr);  // the oldest
  EXPECT_NE(source.ticket("1"), nullptr);
  source.keep("1", nullptr);
  EXPECT_EQ(source.ticket("1"), nullptr);
}

TEST_F(Source, ServesThreads) {
  TlsSource source(mutual(us_), kAllCiphers);
  const auto ask = [&](const std::string& server) {
    for (int i = 0; i < 1000; ++i) {
      const auto context = source.context();
      ASSERT_TRUE(context.ok());
      source.keep(server, std::make_shared<TlsSource::Ticket>(*context, "server.test"));
      EXPECT_NE(source.ticket(server), nullptr);
      source.take_complaint();
    }
  };
  std::thread other(ask, "one");
  ask("two");
  other.join();
}

}  // namespace
}  // namespace berth::wire
