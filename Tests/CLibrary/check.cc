// The C library from C++: lambdas as callbacks, ownership by unique_ptr.
// Usage: check-cc MODEL PHOTO [KEY VALUE]...; prints the labels checksum as check.c does.
#include <trident.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Close {
  void operator()(trident_model *model) const { trident_close(model); }
};
using Model = std::unique_ptr<trident_model, Close>;

Model open(const char *path) {
  trident_model *model = nullptr;
  trident_error error;
  if (trident_open(path, nullptr, 0, &model, &error)) throw std::runtime_error(error.text);
  return Model(model);
}

using Rows = std::vector<std::vector<uint16_t>>;

Rows segment(trident_model *model, const char *photo, const std::vector<const char *> &classes,
                                           std::vector<trident_option> options) {
  std::vector<std::vector<uint16_t>> rows;
  int width = 0;
  struct Context {
    std::vector<std::vector<uint16_t>> &rows;
    int &width;
  } context{rows, width};
  trident_request request{};
  request.size = sizeof request;
  request.path = photo;
  request.classes = classes.data();
  request.class_count = classes.size();
  request.options = options.data();
  request.option_count = options.size();
  trident_sinks sinks{};
  sinks.size = sizeof sinks;
  sinks.context = &context;
  sinks.begin = [](void *context, int32_t width, int32_t, const char *const *, size_t) {
    static_cast<Context *>(context)->width = width;
    return 0;
  };
  sinks.row = [](void *context, int32_t, const uint16_t *labels, const uint8_t *) {
    auto &to = *static_cast<Context *>(context);
    to.rows.emplace_back(labels, labels + to.width);
    return 0;
  };
  trident_error error;
  if (trident_segment(model, &request, &sinks, &error)) throw std::runtime_error(error.text);
  return rows;
}

}  // namespace

int main(int argc, char **argv) try {
  if (argc < 3) return 2;
  Model model = open(argv[1]);
  std::vector<trident_option> options{{"refine", "none"}};
  for (int i = 3; i + 1 < argc; i += 2) options.push_back({argv[i], argv[i + 1]});
  unsigned long sum = 0;
  for (const auto &row : segment(model.get(), argv[2], {"cow", "grass; meadow", "sky"}, options))
    for (uint16_t label : row) sum = sum * 31 + label;
  std::printf("%lu\n", sum);
  try {
    open("no such file");
    return 1;
  } catch (const std::runtime_error &error) {
    return std::string(error.what()).find("no such file") == std::string::npos;
  }
} catch (const std::exception &error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
