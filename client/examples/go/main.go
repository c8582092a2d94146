// go run . ADDRESS: a hyper-gradient by hand, then an error with its canonical details. generate.sh makes package pb.
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"time"

	"bilevel.example/pb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func numbers(list ...float64) *pb.Array {
	return &pb.Array{Data: &pb.Array_Values{Values: &pb.Doubles{List: list}}}
}

func rows(list ...float64) *pb.Matrix {
	return &pb.Matrix{Storage: &pb.Matrix_Dense{Dense: numbers(list...)}}
}

// Two states, see client/README.md: at x = 0 the objective is 1/2 and the gradient -1/4.
func problem(discount float64) *pb.Problem {
	temperature := 0.5
	leader := &pb.Reward{Base: numbers(0, 0, 1, 1), Features: rows(0, 0, -1, -1)}
	return &pb.Problem{NumParameters: 1, Sense: pb.Sense_SENSE_MAXIMIZE, Contexts: []*pb.Context{{
		EnvironmentSource: &pb.Context_Environment{Environment: &pb.Environment{NumStates: 2, NumActions: 2,
			Transitions: rows(1, 0, 0, 1, 1, 0, 0, 1), InitialDistribution: numbers(1, 0)}},
		Discount: &discount, Temperature: &temperature, Reward: &pb.Reward{Features: rows(0, 0, 1, 1)},
		Objective: []*pb.ObjectiveTerm{{Term: &pb.ObjectiveTerm_LeaderReturn{
			LeaderReturn: &pb.LeaderReturn{Reward: leader}}}}}}}
}

func main() {
	connection, err := grpc.NewClient("passthrough:///"+os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy())
	if err != nil {
		panic(err)
	}
	defer connection.Close()
	client := pb.NewSolverServiceClient(connection)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	reply, err := client.EvaluateHypergradient(ctx, &pb.EvaluateHypergradientRequest{Problem: problem(0.5)})
	if err != nil {
		panic(err)
	}
	point := reply.Points[0]
	gradient := math.Float64frombits(binary.LittleEndian.Uint64(point.Gradient.GetRaw()))
	fmt.Println("objective", point.Objective, "gradient", gradient, "error bound", point.Certificate.ErrorBound)

	field := ""
	_, err = client.EvaluateHypergradient(ctx, &pb.EvaluateHypergradientRequest{Problem: problem(1)})
	for _, detail := range status.Convert(err).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			field = bad.FieldViolations[0].Field
		}
	}
	fmt.Println(status.Code(err), "at", field)
	if math.Abs(point.Objective-0.5) > 1e-9 || math.Abs(gradient+0.25) > 1e-9 || field != "problem.contexts[0].discount" {
		os.Exit(1)
	}
}
