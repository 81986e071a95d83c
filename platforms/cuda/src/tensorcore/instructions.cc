// OpenMM-Flash: machine-learned force fields for OpenMM. Copyright (c) 2026 the OpenMM-Flash authors.
// SPDX-License-Identifier: MIT
//
// What the tile product needs of NVIDIA's instruction set, as inline PTX: no header is at hand when OpenMM compiles a program.
//
//   packHalves      two floats as halves, rounded to nearest, the first one in the low bits
//   lowHalf, highHalf   the floats that they stand for
//   multiplyTile    m16n8k16: d = A B + d for the 32 threads of a warp. With g = lane / 4 and t = lane % 4, the registers hold, in pairs,
//                   a  A[g][2t...], A[g + 8][2t...], A[g][2t + 8...], A[g + 8][2t + 8...]      b  B[2t...][g], B[2t + 8...][g]
//                   d  D[g][2t], D[g][2t + 1], D[g + 8][2t], D[g + 8][2t + 1]
//   anyLane         whether the condition holds in any thread of the warp
//
// Before compute capability 8.0 the product is made of two halves as deep, whose operands lie in the same registers.

DEVICE inline unsigned int packHalves(float first, float second) {
    unsigned int halves;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(halves) : "f"(second), "f"(first));
#else
    asm("{.reg .f16 low, high;\n"
        "cvt.rn.f16.f32 low, %1;\n"
        "cvt.rn.f16.f32 high, %2;\n"
        "mov.b32 %0, {low, high};}" : "=r"(halves) : "f"(first), "f"(second));
#endif
    return halves;
}

DEVICE inline float lowHalf(unsigned int halves) {
    float value;
    asm("{.reg .f16 low, high;\n"
        "mov.b32 {low, high}, %1;\n"
        "cvt.f32.f16 %0, low;}" : "=f"(value) : "r"(halves));
    return value;
}

DEVICE inline float highHalf(unsigned int halves) {
    float value;
    asm("{.reg .f16 low, high;\n"
        "mov.b32 {low, high}, %1;\n"
        "cvt.f32.f16 %0, high;}" : "=f"(value) : "r"(halves));
    return value;
}

DEVICE inline void multiplyTile(float* d, const unsigned int* a, uint2 b) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#else
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%8}, {%0, %1, %2, %3};\n"
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%6, %7}, {%9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b.x), "r"(b.y));
#endif
}

DEVICE inline bool anyLane(bool condition) {
    return __any_sync(0xffffffff, condition);
}
