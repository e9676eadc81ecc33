# Writes OUTPUT, a source file that holds the files of server/http/page. cmake -D OUTPUT=.. -P embed_page.cmake
set(source "#include \"server/http/page_files.h\"\n\nnamespace cascade {\n\n")
foreach(pair index.html:IndexHtml style.css:StyleCss memory.js:MemoryJs chat.js:ChatJs icon.svg:IconSvg)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 file)
  list(GET pair 1 name)
  # As numbers: no character needs an escape, and no literal is too long for a compiler.
  file(READ ${CMAKE_CURRENT_LIST_DIR}/page/${file} bytes HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  string(APPEND source "static const unsigned char k${name}Bytes[] = {${bytes}};\n"
    "const std::string_view kPage${name}(reinterpret_cast<const char*>(k${name}Bytes), sizeof(k${name}Bytes));\n\n")
endforeach()
string(APPEND source "}  // namespace cascade\n")
file(WRITE ${OUTPUT} "${source}")
