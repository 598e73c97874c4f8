// The description of the addresses for programs: OpenAPI 3.1.
import Segmentation
import System

/// Makes `/openapi.json` of the formats and options that are there.
enum OpenAPI {
  static func document(_ site: ServeSite) -> JSON {
    let license = JSON.object([("name", .string("MIT")), ("identifier", .string("MIT"))])
    let info = JSON.object([
      ("title", .string("trident serve")), ("version", .string(Trident.version)),
      ("description", .string("Tells every pixel of a photo which of your words it belongs to.")),
      ("license", license),
    ])
    let components = JSON.object([("schemas", schemas), ("securitySchemes", security)])
    return .object([
      ("openapi", .string("3.1.0")), ("info", info), ("paths", paths(site)), ("components", components),
    ])
  }

  private static var security: JSON {
    let token = JSON.object([("type", .string("http")), ("scheme", .string("bearer"))])
    return .object([("token", token)])
  }

  private static func paths(_ site: ServeSite) -> JSON {
    let guarded = site.access.token != nil
    return .object([
      ("/", get("The page for browsers", "text/html", guarded: false)),
      ("/healthz", get("Whether the server is there", "application/json", guarded: false)),
      ("/metrics", get("Counters for Prometheus", "text/plain", guarded: guarded)),
      ("/openapi.json", get("This document", "application/json", guarded: false)),
      ("/v1/model", get("Model, limits, formats and defaults", "application/json", guarded: guarded)),
      ("/v1/segment", .object([("post", segment(site, guarded: guarded))])),
    ])
  }

  private static func get(_ summary: String, _ type: String, guarded: Bool) -> JSON {
    var list: [Response] = [(200, "Done", [type])]
    if guarded { list.append(error(401)) }
    list.append(error(403))
    let method = JSON.object([
      ("summary", .string(summary)), ("security", need(guarded)), ("responses", responses(list)),
    ])
    return .object([("get", method)])
  }

  private static func need(_ guarded: Bool) -> JSON {
    let token = JSON.object([("token", .array([]))])
    return .array(guarded ? [token] : [])
  }

  private static func segment(_ site: ServeSite, guarded: Bool) -> JSON {
    let types = Set(
      ServedFormat.all.map { $0.contentType.split(separator: ";").first.map(String.init) ?? "" })
    var list: [Response] = [(200, "Done, in the format that was asked for", types.sorted())]
    for status in [400, 401, 403, 408, 411, 413, 415, 429, 500, 503] where guarded || status != 401 {
      list.append(error(status))
    }
    let photo = JSON.object([("schema", .object([]))])
    var content = [("multipart/form-data", JSON.object([("schema", form(site))]))]
    for type in ["image/jpeg", "image/png", "image/x-portable-pixmap", "application/octet-stream"] {
      content.append((type, photo))
    }
    let body = JSON.object([("required", .bool(true)), ("content", .object(content))])
    let text =
      "The photo is the body, with fields in the query, or the part 'photo' of a form whose other parts are "
      + "fields. A field may stand in either, once; class may be repeated."
    return .object([
      ("summary", .string("Segments one photo")), ("description", .string(text)),
      ("security", need(guarded)), ("parameters", .array(parameters(site))), ("requestBody", body),
      ("responses", responses(list)),
    ])
  }

  private struct Field {
    let key: String
    let text: String
    var schema = JSON.object([("type", .string("string"))])
  }

  private static func choice(_ names: [String]) -> JSON {
    .object([("type", .string("string")), ("enum", .array(names.map { .string($0) }))])
  }

  /// Fields with what they take.
  private static func fields(_ site: ServeSite) -> [Field] {
    let help = ServedFormat.all.map { "\($0.name): \($0.help)" }.joined(separator: "; ")
    let words = JSON.object([("type", .string("array")), ("items", .object([("type", .string("string"))]))])
    var list = [
      Field(
        key: "class",
        text:
          "a class: a phrase, or synonyms separated by '; ', then ' := ' and a description; repeat for more",
        schema: words
      ),
      Field(key: "classes", text: "classes, a line each"),
      Field(key: "background", text: "class 0 is what nothing else is", schema: choice(["true", "false"])),
      Field(key: "negative", text: "phrases, separated by '; ', whose pixels are of no class"),
      Field(key: "format", text: help, schema: choice(ServedFormat.names)),
      Field(key: "include", text: "formats, separated by commas, that format=json carries as base64"),
    ]
    if site.takesTemplates {
      list.insert(
        Field(
          key: "templates", text: "sentences that words are placed in: all 80, seven or one of them",
          schema: choice(TemplateList.names)), at: 4)
    }
    for row in OptionTable.rows where row.methods.contains(site.defaults.method) {
      list.append(Field(key: row.key, text: "\(row.help) Takes \(row.takes)."))
    }
    return list
  }

  private static func parameters(_ site: ServeSite) -> [JSON] {
    fields(site).map { field in
      .object([
        ("name", .string(field.key)), ("in", .string("query")), ("required", .bool(false)),
        ("description", .string(field.text)), ("schema", field.schema),
      ])
    }
  }

  private static func form(_ site: ServeSite) -> JSON {
    let photo = JSON.object([("type", .string("string")), ("format", .string("binary"))])
    var properties = [("photo", photo)]
    for field in fields(site) { properties.append((field.key, field.schema)) }
    return .object([
      ("type", .string("object")), ("required", .array([.string("photo")])),
      ("properties", .object(properties)),
    ])
  }

  // MARK: answers

  private typealias Response = (status: Int, text: String, types: [String])

  private static func error(_ status: Int) -> Response {
    (status, reasons[status] ?? "", ["application/json"])
  }

  private static let reasons: [Int: String] = [
    400: "A field, a class or the photo cannot be used; the text says which and why",
    401: "A token is needed, or is wrong", 403: "Asked for by another site, or under another name",
    408: "The request did not come in in time", 411: "Content-Length is missing",
    413: "More bytes, pixels, words or memory than this server takes",
    415: "Neither a picture nor a form", 429: "The queue is full; Retry-After says when to come again",
    500: "The model or a result failed", 503: "The server is stopping, or the photo took too long",
  ]

  private static func responses(_ list: [Response]) -> JSON {
    .object(
      list.map { response in
        let schema: JSON =
          response.status < 400 ? .object([]) : .object([("$ref", .string("#/components/schemas/Error"))])
        let content = response.types.map { ($0, JSON.object([("schema", schema)])) }
        return (
          "\(response.status)",
          .object([("description", .string(response.text)), ("content", .object(content))])
        )
      })
  }

  private static var schemas: JSON {
    let status = JSON.object([("type", .string("integer"))])
    let text = JSON.object([("type", .string("string"))])
    let error = JSON.object([
      ("type", .string("object")), ("required", .array([.string("status"), .string("error")])),
      ("properties", .object([("status", status), ("error", text)])),
    ])
    return .object([("Error", error)])
  }
}
