#include "tests/support/cuda_emulator/static_shared.h"

#include <cxxabi.h>
#include <elf.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

namespace cascade::kernels::cuda::emulator {
namespace {

struct Part {
  unsigned char* begin;
  size_t size;
};

// What the program's file says; the loader keeps neither section names nor local symbols.
struct Program {
  std::vector<Part> shared;
  std::map<uintptr_t, std::string> functions;

  Program() {
    uintptr_t base = 0;
    dl_iterate_phdr(
        [](dl_phdr_info* info, size_t, void* out) {
          *static_cast<uintptr_t*>(out) = info->dlpi_addr;
          return 1;  // the first is the program
        },
        &base);
    std::ifstream file("/proc/self/exe", std::ios::binary);
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
    ElfW(Ehdr) header;
    if (bytes.size() < sizeof(header)) return;
    std::memcpy(&header, bytes.data(), sizeof(header));
    std::vector<ElfW(Shdr)> sections(header.e_shnum);
    std::memcpy(sections.data(), bytes.data() + header.e_shoff, sections.size() * sizeof(ElfW(Shdr)));
    const char* const names = bytes.data() + sections[header.e_shstrndx].sh_offset;
    for (const auto& section : sections) {
      if (std::strncmp(names + section.sh_name, "cuda_shared_", 12) == 0) {
        shared.push_back({reinterpret_cast<unsigned char*>(base + section.sh_addr), section.sh_size});
      }
      if (section.sh_type != SHT_SYMTAB) continue;
      const char* const strings = bytes.data() + sections[section.sh_link].sh_offset;
      for (size_t at = 0; at + sizeof(ElfW(Sym)) <= section.sh_size; at += sizeof(ElfW(Sym))) {
        ElfW(Sym) symbol;
        std::memcpy(&symbol, bytes.data() + section.sh_offset + at, sizeof(symbol));
        if ((symbol.st_info & 0xF) != STT_FUNC || symbol.st_value == 0) continue;
        functions[base + symbol.st_value] = strings + symbol.st_name;
      }
    }
  }
};

const Program& program() {
  static const Program* const one = new Program;
  return *one;
}

}  // namespace

// Sections also hold what the address sanitizer keeps between arrays.
__attribute__((no_sanitize("address"))) void PoisonStaticShared(unsigned char byte) {
  for (const Part& part : program().shared) {
    for (volatile unsigned char* at = part.begin; at != part.begin + part.size; ++at) *at = byte;
  }
}

bool IsStaticShared(const void* address) {
  for (const Part& part : program().shared) {
    if (address >= part.begin && address < part.begin + part.size) return true;
  }
  return false;
}

std::string NameOfFunction(const void* function) {
  const auto found = program().functions.find(reinterpret_cast<uintptr_t>(function));
  if (found == program().functions.end()) return "?";
  int status = 0;
  char* const name = abi::__cxa_demangle(found->second.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? name : found->second;
  std::free(name);
  return result;
}

}  // namespace cascade::kernels::cuda::emulator
