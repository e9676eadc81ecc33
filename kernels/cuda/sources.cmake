# The sources of the CUDA back end. Those that need cuBLAS are apart: the rest is also compiled for the emulated device
# (tests/support/cuda_emulator).
set(names
  append_kv.cu attention_decode_scores.cu attention_decode.cu attention_decode_plan.cc attention_prefill.cu
  attention_scores.cu backend.cc backend_ops.cc backend_steps.cc cache_layout.cc close_strides.cu close_tables.cu
  dequantise.cu device_code.cu device_memory.cc embed.cu gather_rows.cu host_convert.cc linear.cc linear_choice.cc linear_skinny.cu
  linear_tile.cu prepare_step.cu rms_norm.cu rotate_queries.cu sample.cu score_targets.cu silu_mul.cu slot_copies.cc staging.cc
  step_graphs.cc step_trace.cc step_upload.cc stream.cc weight_loader.cc weight_random.cu weight_repack.cc)
list(TRANSFORM names PREPEND ${CMAKE_CURRENT_LIST_DIR}/ OUTPUT_VARIABLE CASCADE_CUDA_SOURCES)
set(CASCADE_CUDA_BLAS_SOURCES ${CMAKE_CURRENT_LIST_DIR}/ceilings.cu ${CMAKE_CURRENT_LIST_DIR}/linear_blas.cu)
