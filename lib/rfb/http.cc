// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "lib/rfb/websocket.h"

namespace atl::rfb {
namespace {

constexpr absl::string_view kWebSocketGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
constexpr size_t kMaxHeaders = 64;

struct MimeType {
  absl::string_view ending, type;
};
constexpr MimeType kMimeTypes[] = {
    {".html", "text/html; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".json", "application/json"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".ico", "image/x-icon"},
    {".mp3", "audio/mpeg"},
    {".oga", "audio/ogg"},
    {".woff", "font/woff"},
    {".ttf", "font/ttf"},
    {".txt", "text/plain; charset=utf-8"},
};

std::string Header(const HttpRequest& request, const std::string& name) {
  const auto it = request.headers.find(name);
  return it == request.headers.end() ? "" : it->second;
}

void Answer(absl::string_view status, absl::string_view type, absl::string_view body,
            bool with_body, absl::string_view more, Output* out) {
  out->Append(absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                           "\r\nContent-Length: ", body.size(),
                           "\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
                           "Cache-Control: no-cache\r\n",
                           more, "\r\n"));
  if (with_body) out->Append(body);
}

void Refuse(absl::string_view status, Output* out) {
  Answer(status, "text/plain; charset=utf-8", absl::StrCat(status, "\n"), true, "", out);
}

// "host:port" without its port.
absl::string_view HostOf(absl::string_view authority) {
  if (absl::StartsWith(authority, "[")) {
    return authority.substr(0, std::min(authority.size(), authority.find(']') + 1));
  }
  return authority.substr(0, authority.find(':'));
}

// A name that somebody else's DNS may answer for is not taken for this server's.
bool IsOwnHost(absl::string_view authority, const std::vector<std::string>& hosts) {
  std::string host(HostOf(authority));
  if (host == "localhost") return true;
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return true;
  in6_addr v6;
  if (host.size() > 2 && host[0] == '[' &&
      inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1) {
    return true;
  }
  return std::any_of(hosts.begin(), hosts.end(),
                     [&](const std::string& h) { return absl::EqualsIgnoreCase(h, host); });
}

bool HasToken(absl::string_view list, absl::string_view token) {
  for (const absl::string_view item : absl::StrSplit(list, ',')) {
    if (absl::EqualsIgnoreCase(absl::StripAsciiWhitespace(item), token)) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<HttpRequest> ParseHttpRequest(std::span<const uint8_t> bytes) {
  const absl::string_view all(reinterpret_cast<const char*>(bytes.data()),
                              std::min(bytes.size(), kMaxHttpHead));
  const size_t end = all.find("\r\n\r\n");
  if (end == absl::string_view::npos) {
    if (bytes.size() >= kMaxHttpHead) return absl::InvalidArgumentError("HTTP: a head too long");
    return HttpRequest{};
  }
  HttpRequest out;
  out.size = end + 4;
  bool first = true;
  for (const absl::string_view line : absl::StrSplit(all.substr(0, end), "\r\n")) {
    if (first) {
      first = false;
      const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
      if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.") || words[0].empty() ||
          !absl::StartsWith(words[1], "/")) {
        return absl::InvalidArgumentError("HTTP: no request line");
      }
      out.method = std::string(words[0]);
      out.path = std::string(words[1].substr(0, words[1].find_first_of("?#")));
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos || colon == 0 || out.headers.size() == kMaxHeaders) {
      return absl::InvalidArgumentError("HTTP: a header that is none");
    }
    std::string& value = out.headers[absl::AsciiStrToLower(line.substr(0, colon))];
    absl::StrAppend(&value, value.empty() ? "" : ",",
                    absl::StripAsciiWhitespace(line.substr(colon + 1)));
  }
  return out;
}

bool WantsWebSocket(const HttpRequest& request) {
  return HasToken(Header(request, "upgrade"), "websocket");
}

absl::Status AcceptWebSocket(const HttpRequest& request, const std::vector<std::string>& hosts,
                             Output* out) {
  std::string key;
  if (request.method != "GET" || !HasToken(Header(request, "connection"), "upgrade") ||
      Header(request, "sec-websocket-version") != "13" ||
      !absl::Base64Unescape(Header(request, "sec-websocket-key"), &key) || key.size() != 16) {
    Refuse("400 Bad Request", out);
    return absl::InvalidArgumentError("websocket: a handshake that is none of version 13");
  }
  // A browser lets any page connect anywhere, but says whose page it is.
  const std::string origin = Header(request, "origin"), host = Header(request, "host");
  if (!origin.empty()) {
    absl::string_view theirs = origin;
    if (!absl::ConsumePrefix(&theirs, "http://")) absl::ConsumePrefix(&theirs, "https://");
    const bool named = std::any_of(hosts.begin(), hosts.end(), [&](const std::string& h) {
      return absl::EqualsIgnoreCase(h, HostOf(theirs));
    });
    if (!named && (!absl::EqualsIgnoreCase(theirs, host) || !IsOwnHost(theirs, hosts))) {
      Refuse("403 Forbidden", out);
      return absl::PermissionDeniedError(
          absl::StrCat("websocket: it is of a page of ", absl::CHexEscape(origin)));
    }
  }
  const std::string text = absl::StrCat(Header(request, "sec-websocket-key"), kWebSocketGuid);
  uint8_t digest[20];
  if (gnutls_hash_fast(GNUTLS_DIG_SHA1, text.data(), text.size(), digest) != 0) {
    Refuse("500 Internal Server Error", out);
    return absl::InternalError("websocket: no SHA-1");
  }
  const absl::string_view digest_text(reinterpret_cast<const char*>(digest), sizeof digest);
  out->Append(absl::StrCat(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
      "Sec-WebSocket-Accept: ",
      absl::Base64Escape(digest_text), "\r\n",
      HasToken(Header(request, "sec-websocket-protocol"), "binary")
          ? "Sec-WebSocket-Protocol: binary\r\n"
          : "",
      "\r\n"));
  return absl::OkStatus();
}

void AnswerHttp(const HttpRequest& request, const WebFiles* files, Output* out) {
  if (request.method != "GET" && request.method != "HEAD") {
    Refuse("405 Method Not Allowed", out);
    return;
  }
  if (files == nullptr || files->files.empty()) {
    Refuse("404 Not Found", out);
    return;
  }
  if (request.path == "/" && files->files.count("/vnc.html") != 0) {
    Answer("302 Found", "text/plain", "", true, "Location: /vnc.html\r\n", out);
    return;
  }
  // Exactly the paths that were read: ".." names none of them.
  const auto it = files->files.find(request.path);
  if (it == files->files.end()) {
    Refuse("404 Not Found", out);
    return;
  }
  absl::string_view type = "application/octet-stream";
  for (const MimeType& m : kMimeTypes) {
    if (absl::EndsWith(request.path, m.ending)) type = m.type;
  }
  Answer("200 OK", type, it->second, request.method == "GET", "", out);
}

void AnswerBadRequest(Output* out) { Refuse("400 Bad Request", out); }

}  // namespace atl::rfb
