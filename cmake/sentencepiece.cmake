# SentencePiece, built from the PyPI package's sources, which scripts/install_dependencies unpacks where this looks first:
# the distribution's library carries a protobuf of its own that crashes beside the one that gRPC needs.
#
# cascade_sentencepiece: the encoder. cascade_sentencepiece_train: the trainer, for tests. What includes their headers must
# not include abseil's, and is compiled with CASCADE_SENTENCEPIECE_DEFINITIONS.
set(CASCADE_SENTENCEPIECE_DIR ${cache_home}/cascade/sentencepiece CACHE PATH "Sources of SentencePiece 0.2.0 or 0.2.1")
if(NOT EXISTS ${CASCADE_SENTENCEPIECE_DIR}/src/model_factory.h)
  message(FATAL_ERROR
    "SentencePiece's sources are not in CASCADE_SENTENCEPIECE_DIR (${CASCADE_SENTENCEPIECE_DIR}). Run "
    "scripts/install_dependencies, or point -DCASCADE_SENTENCEPIECE_DIR at the folder `sentencepiece` of the unpacked PyPI "
    "source package.")
endif()

# As cache entries: the subproject's option() would not see plain variables.
foreach(option SPM_ENABLE_SHARED SPM_ENABLE_TCMALLOC SPM_BUILD_TEST)
  set(${option} OFF CACHE INTERNAL "")
endforeach()
set(SPM_PROTOBUF_PROVIDER package CACHE INTERNAL "")
set(SPM_ABSL_PROVIDER internal CACHE INTERNAL "")
# Nothing of it is built but what is linked.
set(sentencepiece_build ${PROJECT_BINARY_DIR}/sentencepiece)
add_subdirectory(${CASCADE_SENTENCEPIECE_DIR} ${sentencepiece_build} EXCLUDE_FROM_ALL SYSTEM)

# It brings small stand-ins for parts of abseil, in namespace absl: under another name they cannot meet the real ones.
set(CASCADE_SENTENCEPIECE_DEFINITIONS absl=sentencepiece_absl)
foreach(part "" _train)
  target_compile_definitions(sentencepiece${part}-static PRIVATE ${CASCADE_SENTENCEPIECE_DEFINITIONS})
  target_compile_options(sentencepiece${part}-static PRIVATE -w)
  # It asks for libprotobuf-lite, whose symbols are all in libprotobuf, which gRPC needs: never both in one process.
  set_target_properties(sentencepiece${part}-static PROPERTIES INTERFACE_LINK_LIBRARIES Threads::Threads)
  add_library(cascade_sentencepiece${part} INTERFACE)
  target_link_libraries(cascade_sentencepiece${part} INTERFACE sentencepiece${part}-static protobuf::libprotobuf)
  target_include_directories(cascade_sentencepiece${part} SYSTEM INTERFACE ${CASCADE_SENTENCEPIECE_DIR}
    ${CASCADE_SENTENCEPIECE_DIR}/src ${sentencepiece_build} ${sentencepiece_build}/src)
endforeach()
target_link_libraries(cascade_sentencepiece_train INTERFACE cascade_sentencepiece)
